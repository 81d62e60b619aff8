"""A failover asks a Sentinel until it accepts, and waits until the Sentinels agree."""

import pytest

from flask_redis_counter.testing import Faults, Replica, StackError, StackTimeoutError

from .recording import RecordingStack


class SentinelStack(RecordingStack):
    """A fake stack with two Sentinels.

    :param masters: the names of the monitored masters.
    :param refusals: the errors that FAILOVER returns before it is accepted.
    :param named: the addresses that both Sentinels name after it, one pair for each look.
    :param aborted: the number of failovers that are accepted, and then aborted.
    """

    def __init__(self, *, masters=("counters",), refusals=(), named=(("b", "b"),), aborted=0):
        super().__init__(replicas=2)
        self.masters = masters
        self.refusals = list(refusals)
        self.named = [("a", "a"), *named]
        self.aborted = aborted
        self.started = False
        self.ports = set()

    def state(self, service):
        """Return two Sentinels."""
        return tuple(Replica(service, f"{service}-{i + 1}", s) for i, s in enumerate(self._status))

    def run_redis_command(self, service, *command, port=None, replica=0):
        """Simulate a Sentinel, with the output of redis-cli."""
        self.record_call(*command[1:], replica=replica)
        self.ports.add(port)
        match command[1:]:
            case ("MASTERS",):
                each = (f"name\n{name}\nip\na\nrunid\n\nport\n6379" for name in self.masters)
                return "\n".join(each)
            case ("GET-MASTER-ADDR-BY-NAME", name):
                if name not in self.masters:
                    return ""
                look = self.named[1] if self.started else self.named[0]
                if self.started and replica == 1 and len(self.named) > 2:
                    del self.named[1]
                return f"{look[replica]}\n6379"
            case ("FAILOVER", _) if self.refusals:
                raise StackError(self.refusals.pop(0))
            case ("FAILOVER", _) if self.started:
                raise StackError("INPROG Failover already in progress")
            case ("FAILOVER", _):
                self.started = not self.aborted
                self.aborted = max(0, self.aborted - 1)
        return "OK"


def count(stack, call):
    """Return how often a call was made."""
    return stack.calls.count(call)


def test_failover_of_only_master():
    """Its name is found; the block begins when both Sentinels name the other server."""
    stack = SentinelStack(named=[("a", "a"), ("b", "a"), ("b", "b")])
    faults = Faults(stack)
    with faults.failover("sentinel"):
        assert stack.named == [("a", "a"), ("b", "b")]
        calls = list(stack.calls)
    assert stack.calls == calls
    assert stack.ports == {26379}
    assert count(stack, "FAILOVER counters 0") == 1
    assert [str(event.fault) for event in faults.history] == ["failover by sentinel"] * 4


def test_failover_of_named_master():
    """The Sentinel may monitor others, at any port."""
    stack = SentinelStack(masters=("others", "counters"))
    with Faults(stack).failover("sentinel", "counters", port=5000):
        assert count(stack, "MASTERS 0") == 0
    assert stack.ports == {5000}


@pytest.mark.parametrize(
    ("masters", "error"),
    [((), "monitors none"), (("one", "two"), "monitors one, two: name the master")],
)
def test_failover_needs_master(masters, error):
    """Without a name there must be one monitored master."""
    stack = SentinelStack(masters=masters)
    with pytest.raises(StackError, match=error), Faults(stack).failover("sentinel"):
        pytest.fail("not reached")
    assert stack.calls == ["MASTERS 0"]


def test_failover_of_unknown_master_is_error():
    """Nothing is asked for."""
    stack = SentinelStack()
    unknown = Faults(stack).failover("sentinel", "visits")
    with pytest.raises(StackError, match="sentinel 0 knows no master 'visits'"), unknown:
        pytest.fail("not reached")
    assert count(stack, "FAILOVER visits 0") == 0


def test_failover_is_retried_while_sentinel_is_not_ready():
    """The last failover has not ended, and the demoted master is not in step yet."""
    stack = SentinelStack(refusals=["INPROG Failover already in progress", "NOGOODSLAVE No"])
    with Faults(stack).failover("sentinel"):
        assert count(stack, "FAILOVER counters 0") == 3


def test_aborted_failover_is_requested_again(monkeypatch):
    """A Sentinel aborts a failover if the replica is not promoted in time."""
    monkeypatch.setattr("flask_redis_counter.testing.faults.sentinels.RETRY_AFTER", 0)
    stack = SentinelStack(aborted=2)
    with Faults(stack).failover("sentinel"):
        assert count(stack, "FAILOVER counters 0") == 3


def test_failover_with_sentinel_that_is_late():
    """A Sentinel that already names the promoted server does not count as agreement before."""
    stack = SentinelStack(named=[("a", "b"), ("b", "b")])
    stack.named[0] = ("a", "b")
    with Faults(stack).failover("sentinel"):
        assert stack.named == [("a", "b"), ("b", "b")]


def test_refused_failover_is_error():
    """Another error is raised at once."""
    stack = SentinelStack(refusals=["NOPERM this user has no permissions"])
    with pytest.raises(StackError, match="NOPERM"), Faults(stack).failover("sentinel"):
        pytest.fail("not reached")
    assert count(stack, "FAILOVER counters 0") == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"refusals": ["NOGOODSLAVE No suitable replica"] * 9}, "a failover of counters begins"),
        ({"named": [("b", "a")]}, "another master of counters than a:6379"),
    ],
)
def test_failover_that_does_not_happen_is_error(options, error):
    """The error has the last reply and the logs of the stack."""
    fault = Faults(SentinelStack(**options), timeout=0).failover("sentinel")
    with pytest.raises(StackTimeoutError, match=error) as raised, fault:
        pytest.fail("not reached")
    assert "web| the log" in str(raised.value)
