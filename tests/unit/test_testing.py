"""The testing package's own promises: what it must not let pass."""

import socket

import pytest

from flask_redis_counter.testing import (
    Stack,
    Tally,
    WaitTimeoutError,
    killed,
    partitioned,
    paused,
    stopped,
    wait_until,
)
from flask_redis_counter.testing.proxy import Proxy


@pytest.mark.parametrize(
    ("tally", "before", "after"),
    [
        (Tally([1, 2, 3]), 0, 3),
        (Tally([11, 13], unknown=1), 10, 13),
        (Tally([11, 12], unknown=3), 10, 12),
        (Tally([], refused=5), 7, 7),
    ],
)
def test_a_true_tally_passes(tally, before, after):
    """Unknown hits may have counted or not; refused ones have not."""
    tally.check(before=before, after=after)


@pytest.mark.parametrize(
    ("tally", "before", "after", "said"),
    [
        (Tally([1, 2, 3]), 0, 2, "not from 1 to 2"),
        (Tally([1, 3], unknown=1), 0, 4, "4 counted, but 2 acknowledged and 1 unknown"),
        (Tally([1, 2]), 0, 3, "3 counted"),
        (Tally([1, 1, 2]), 0, 3, "handed out twice"),
        (Tally([5]), 5, 6, "not from 6 to 6"),
        (Tally([], refused=1), 0, 1, "1 counted"),
    ],
)
def test_a_lie_does_not_pass(tally, before, after, said):
    """A lost hit, a double one, a value twice, a value from elsewhere, a refused one counted."""
    with pytest.raises(AssertionError, match=said):
        tally.check(before=before, after=after)


def test_waiting_says_what_was_seen_last():
    """The error has the condition and the last look, be it a value or an exception."""
    with pytest.raises(WaitTimeoutError, match="three; last seen: 0"):
        wait_until(lambda: 0, what="three", within=0)
    with pytest.raises(WaitTimeoutError, match="ZeroDivisionError"):
        wait_until(lambda: 1 / 0, what="three", within=0)
    assert wait_until(lambda: 3, what="three", within=0) == 3


class RecordingStack(Stack):
    """A stack that only remembers what it was told."""

    kind = "recording"

    def __init__(self, fail=""):
        self.told = []
        self._fail = fail

    def _remember(self, *words):
        self.told.append(" ".join(words))
        if words[0] == self._fail:
            raise OSError(self._fail)

    def up(self, *services):
        """Remember it."""
        self._remember("up")

    def down(self, *, volumes=False):
        """Remember it."""
        self._remember("down", "with" if volumes else "without", "volumes")

    def start(self, service):
        """Remember it."""
        self._remember("start", service)

    def stop(self, service):
        """Remember it."""
        self._remember("stop", service)

    def kill(self, service, *, replica=None):
        """Remember it."""
        self._remember("kill", service)

    def pause(self, service):
        """Remember it."""
        self._remember("pause", service)

    def unpause(self, service):
        """Remember it."""
        self._remember("unpause", service)

    def cut(self, service):
        """Remember it."""
        self._remember("cut", service)

    def mend(self, service):
        """Remember it."""
        self._remember("mend", service)

    def url(self):
        """Be nowhere."""
        return "http://127.0.0.1:9"

    def logs(self):
        """Say one thing."""
        return {"web": "the log"}


FAULTS = [
    (stopped, "stop", "start"),
    (killed, "kill", "start"),
    (paused, "pause", "unpause"),
    (partitioned, "cut", "mend"),
]


@pytest.mark.parametrize(("fault", "harm", "cure"), FAULTS)
def test_a_fault_heals_and_does_not_swallow(fault, harm, cure):
    """Whatever happens inside, the stack is healed, and the failure goes on."""
    stack = RecordingStack()
    with pytest.raises(KeyError), fault(stack, "redis"):
        raise KeyError
    assert stack.told == [f"{harm} redis", f"{cure} redis"]


@pytest.mark.parametrize(("fault", "harm", "cure"), FAULTS)
def test_a_fault_that_fails_half_way_heals_as_well(fault, harm, cure):
    """A command that failed may have had its effect."""
    stack = RecordingStack(fail=harm)
    with pytest.raises(OSError, match=harm), fault(stack, "redis"):
        pytest.fail("not reached")
    assert stack.told[-1] == f"{cure} redis"


def test_a_stack_that_does_not_come_up_is_removed():
    """With its volumes, and with its logs kept for the report."""
    stack = RecordingStack(fail="up")
    with pytest.raises(OSError, match="up"), stack:
        pytest.fail("not reached")
    assert stack.told == ["up", "down with volumes"]
    assert stack.last_words == {"web": "the log"}


def test_a_proxy_takes_the_next_backend_and_can_be_cut():
    """Backends that refuse are passed over; a cut holds everything back until it is mended."""
    with socket.create_server(("127.0.0.1", 0)) as backend, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        proxy = Proxy([dead.getsockname()[1], backend.getsockname()[1]])
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            client.sendall(b"ping")
            served, _ = backend.accept()
            with served:
                assert served.recv(4) == b"ping"
                proxy.cut()
                client.sendall(b"held")
                served.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    served.recv(4)
                proxy.mend()
                served.settimeout(5)
                assert served.recv(4) == b"held"
        proxy.close()
