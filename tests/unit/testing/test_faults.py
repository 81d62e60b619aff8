"""Faults are active in their block, always cleared, and never swallow an exception."""

import pytest

from flask_redis_counter.testing import (
    Faults,
    Nemesis,
    Replica,
    StackError,
    StackTimeoutError,
    wait_until,
)

from .recording import RecordingProxy, RecordingStack

FAULTS = {
    "stopped": (lambda faults: faults.stopped("redis"), "stop", "start redis"),
    "killed": (lambda faults: faults.killed("redis"), "kill", "start redis"),
    "replica": (lambda faults: faults.killed("redis", replica=0), "kill", "start redis"),
    "paused": (lambda faults: faults.paused("redis"), "pause", "unpause redis"),
    "partitioned": (lambda faults: faults.partitioned("redis"), "isolate", "reconnect redis"),
    "isolated": (
        lambda faults: faults.isolated("redis", with_clients=["web"]),
        "isolate",
        "reconnect redis",
    ),
    "latency": (lambda faults: faults.latency("redis", 0.2), "latency", "clear"),
    "bandwidth_limited": (
        lambda faults: faults.bandwidth_limited("redis", 1000),
        "bandwidth_limited",
        "clear",
    ),
    "connections_reset": (
        lambda faults: faults.connections_reset("redis"),
        "connections_reset",
        "clear",
    ),
    "half_open": (lambda faults: faults.half_open("redis"), "half_open", "clear"),
    "responses_dropped": (
        lambda faults: faults.responses_dropped("redis"),
        "responses_dropped",
        "clear",
    ),
    "disk_full": (lambda faults: faults.disk_full("redis", "/data"), "dd", "rm"),
    "out_of_memory": (
        lambda faults: faults.out_of_memory("redis"),
        "CONFIG",
        "CONFIG SET maxmemory 100",
    ),
}


def isolated(faults, service):
    """Return the fault that leaves a service only the client ``web``."""
    return faults.isolated(service, with_clients=["web"])


each_fault = pytest.mark.parametrize(("fault", "injected", "cleared"), FAULTS.values(), ids=FAULTS)


@each_fault
def test_fault_is_cleared_and_propagates_exception(fault, injected, cleared):
    """An exception in the block clears the fault, and propagates."""
    stack = RecordingStack()
    calls = None
    with pytest.raises(KeyError), fault(Faults(stack)):
        raise KeyError(calls := list(stack.calls))
    assert calls[-1] != cleared
    assert stack.calls[-1] == cleared


@pytest.mark.parametrize(
    ("fault", "injected", "cleared"), [each for each in FAULTS.values() if each[1] != "CONFIG"]
)
def test_fault_is_cleared_if_inject_failed(fault, injected, cleared):
    """A command that failed may have had an effect."""
    stack = RecordingStack(injected)
    with pytest.raises(StackError, match=injected), fault(Faults(stack)):
        pytest.fail("not reached")
    assert stack.calls[-1] == cleared


@each_fault
def test_history_has_each_phase(fault, injected, cleared):
    """Faults.history has the four phases of a fault, for the report of a failed test."""
    faults = Faults(RecordingStack())
    with fault(faults):
        assert [event.phase for event in faults.history] == ["injecting", "active"]
    phases = [event.phase for event in faults.history]
    assert phases == ["injecting", "active", "clearing", "cleared"]
    assert len({event.fault for event in faults.history}) == 1


def test_error_in_clear_is_note_on_exception():
    """The exception of the block propagates, with the error in clear() as a note."""
    with pytest.raises(KeyError) as raised, Faults(RecordingStack("start")).killed("redis"):
        raise KeyError
    assert raised.value.__notes__ == ["redis killed: not cleared: start"]
    with pytest.raises(StackError), Faults(RecordingStack("start")).killed("redis"):
        pass


def test_fault_that_has_no_effect_is_error(monkeypatch):
    """Otherwise the block would test a healthy stack."""
    stack = RecordingStack()
    monkeypatch.setattr(stack, "kill", lambda *_, **__: None)
    fault = Faults(stack, timeout=0).killed("redis")
    with pytest.raises(StackTimeoutError, match="redis exited") as raised, fault:
        pytest.fail("not reached")
    assert "redis-1 running" in str(raised.value)
    assert "web| the log" in str(raised.value)
    assert [one.status for one in raised.value.replicas] == ["running"]


def test_second_network_fault_is_error():
    """A second one would replace the first, and clearing it would clear both."""
    stack = RecordingStack()
    faults = Faults(stack)
    with faults.latency("redis", 0.2):
        already = r"bandwidth limited by 9: redis-proxy .* already: network of redis latency by 0.2"
        with pytest.raises(StackError, match=already), faults.bandwidth_limited("redis", 9):
            pytest.fail("not reached")
        assert stack.calls == ["latency 0.2"]
        with faults.bandwidth_limited("web", 9):  # it has a proxy of its own
            pass
    with faults.bandwidth_limited("redis", 9):
        pass


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (lambda faults: faults.paused("redis"), lambda faults: faults.killed("redis")),
        (lambda faults: faults.paused("redis"), lambda faults: faults.killed("redis", replica=0)),
        (lambda faults: faults.killed("redis"), lambda faults: faults.stopped("redis")),
        (lambda faults: faults.out_of_memory("redis"), lambda faults: faults.killed("redis")),
        (lambda faults: faults.latency("redis", 1), lambda faults: faults.killed("redis-proxy")),
        (lambda faults: faults.latency("redis", 1), lambda faults: faults.partitioned("redis")),
        (lambda faults: faults.partitioned("redis"), lambda faults: isolated(faults, "redis")),
        (lambda faults: isolated(faults, "redis"), lambda faults: faults.partitioned("web")),
        (lambda faults: isolated(faults, "redis"), lambda faults: isolated(faults, "web2")),
    ],
)
def test_second_fault_of_service_is_error(outer, inner):
    """It would end the first fault within its block."""
    stack = RecordingStack(replicas=2)
    faults = Faults(stack)
    with outer(faults):
        calls = list(stack.calls)
        with pytest.raises(StackError, match="can have one fault at a time"), inner(faults):
            pytest.fail("not reached")
        assert stack.calls == calls
    with inner(faults):
        pass


def test_faults_of_two_replicas():
    """Each fault starts only the replica that it killed."""
    stack = RecordingStack(replicas=3)
    faults = Faults(stack)
    with faults.killed("redis", replica=0):
        with faults.killed("redis", replica=1):
            pass
        assert [one.status for one in stack.state("redis")] == ["exited", "running", "running"]
    assert stack.calls == [
        "kill redis 0",
        "kill redis 1",
        "start redis 1",
        "start redis 0",
    ]


def test_stopped_starts_only_replicas_that_ran():
    """A replica that the test killed before stays down."""
    stack = RecordingStack(replicas=3)
    stack.kill("redis", replica=1)
    with Faults(stack).stopped("redis"):
        pass
    assert stack.calls[1:] == ["stop redis", "start redis 0", "start redis 2"]
    assert [one.status for one in stack.state("redis")] == ["running", "exited", "running"]


@pytest.mark.parametrize(
    "fault",
    [
        lambda faults: faults.killed("redis"),
        lambda faults: faults.killed("redis", replica=7),
        lambda faults: faults.paused("redis"),
        lambda faults: faults.partitioned("redis"),
        lambda faults: isolated(faults, "redis"),
        lambda faults: faults.failover("redis"),
    ],
)
def test_fault_of_service_that_does_not_run_is_error(fault):
    """Nothing is done: a one-shot service that has ended must not run again."""
    stack = RecordingStack()
    stack.stop("redis")
    faults = Faults(stack)
    with pytest.raises(StackError, match=r"target does not run: redis-1 exited"), fault(faults):
        pytest.fail("not reached")
    assert (stack.calls, faults.history) == (["stop redis"], [])


@each_fault
def test_fault_of_unknown_service_is_error(fault, injected, cleared, monkeypatch):
    """The error lists the services; nothing is injected or cleared."""
    stack = RecordingStack()
    monkeypatch.setattr(stack, "state", lambda service: ())
    faults = Faults(stack)
    with pytest.raises(StackError, match=r"no such service; it has redis") as raised, fault(faults):
        pytest.fail("not reached")
    assert not hasattr(raised.value, "__notes__")
    assert (stack.calls, faults.history) == ([], [])


def test_client_of_isolated_service_can_be_killed():
    """Only faults of its networks are excluded."""
    stack = RecordingStack()
    faults = Faults(stack)
    with isolated(faults, "redis"), faults.killed("web"):
        pass
    assert stack.calls == ["isolate redis web", "kill web", "start web", "reconnect redis"]


@pytest.mark.parametrize(
    ("client", "replicas", "error"),
    [
        ("redis", ["running"], "redis is the isolated service, not a client"),
        ("wbe", [], "the stack has no service wbe"),
        ("web", ["running", "exited"], "the target does not run: web-0 running, web-1 exited"),
    ],
)
def test_client_of_isolated_service_must_run(client, replicas, error, monkeypatch):
    """Nothing is injected if a client could not reach the service."""
    stack = RecordingStack()
    state = stack.state
    found = tuple(Replica(client, f"{client}-{i}", status) for i, status in enumerate(replicas))
    monkeypatch.setattr(stack, "state", lambda one: found if one == client else state(one))
    fault = Faults(stack).isolated("redis", with_clients=[client])
    with pytest.raises(StackError, match=error), fault:
        pytest.fail("not reached")
    assert stack.calls == []


def test_disk_full_twice():
    """The fault that ends first leaves the disk full."""
    stack = RecordingStack()
    faults = Faults(stack)
    with faults.disk_full("redis", "/data"):
        with faults.disk_full("proxy", "/data"):
            assert len(stack.fillers) == 2
        assert len(stack.fillers) == 1
    assert not stack.fillers


def test_network_fault_is_cleared_at_new_address(monkeypatch):
    """The proxy may have been restarted, and have another address."""
    stack = RecordingStack()
    with Faults(stack).latency("redis", 0.2):
        monkeypatch.setattr(stack, "proxy", lambda service: RecordingProxy(elsewhere))
        elsewhere = RecordingStack()
    assert (stack.calls, elsewhere.calls) == (["latency 0.2"], ["clear"])


def test_disk_full_rejects_large_disk():
    """A folder without a volume of its own may be on the machine's disk."""
    stack = RecordingStack(free=10_000_000)
    with pytest.raises(StackError, match="9765 MB free"), Faults(stack).disk_full("redis", "/data"):
        pytest.fail("not reached")
    assert "dd" not in stack.calls


def test_stack_that_does_not_come_up_is_removed():
    """Its volumes are removed, and its logs are kept for the report."""
    stack = RecordingStack("up")
    with pytest.raises(StackError, match="up"), stack:
        pytest.fail("not reached")
    assert stack.calls == ["up", "down with volumes"]
    assert stack.final_logs == {"web": "the log"}


# Nemesis


def kinds(faults):
    """Return two fault factories."""
    return {
        "killed": lambda: faults.killed("redis"),
        "paused": lambda: faults.paused("redis"),
    }


def test_plan_is_same_for_same_seed():
    """Another seed makes another plan; each kind occurs once before one occurs again."""
    faults = Faults(RecordingStack())

    def plan(seed):
        made = Nemesis(kinds(faults), seed=seed).plan()
        return [next(made) for _ in range(20)]

    assert plan(1) == plan(1) != plan(2)
    for first, second in zip(plan(1)[::2], plan(1)[1::2], strict=True):
        assert {first.kind, second.kind} == {"killed", "paused"}


@pytest.mark.parametrize("rate", [1, 20, 600])
def test_plan_has_rate_on_average(rate):
    """The rate covers the faults and the pauses after them."""
    made = Nemesis(kinds(Faults(RecordingStack())), seed=4, rate=rate).plan()
    faults = [next(made) for _ in range(4000)]
    seconds = sum(fault.duration + fault.pause for fault in faults)
    assert 60 * len(faults) / seconds == pytest.approx(rate, rel=0.05)


def test_nemesis_injects_faults_during_block():
    """All faults are cleared when the block has ended."""
    faults = Faults(RecordingStack())
    with Nemesis(kinds(faults), seed=7, rate=600) as nemesis:
        wait_until(lambda: len(nemesis.done) >= 3, what="three faults")
    assert faults.history[-1].phase == "cleared"
    assert faults.stack.state("redis")[0].status == "running"
    assert f"seed 7, {len(nemesis.done)} faults" in str(nemesis)


def test_nemesis_error_is_raised_at_end_of_block():
    """An exception of the block has precedence."""
    failing = Nemesis(kinds(Faults(RecordingStack("kill", "pause"))), seed=7)
    with pytest.raises(StackError, match=r"kill|pause"), failing:
        pass
    with pytest.raises(KeyError), Nemesis(kinds(Faults(RecordingStack("kill"))), seed=7):
        raise KeyError


@pytest.mark.parametrize("rate", [0, 601])
def test_nemesis_rejects_rate_out_of_bounds(rate):
    """It raises ValueError in the constructor."""
    with pytest.raises(ValueError, match="from 1 to 600"):
        Nemesis(kinds(Faults(RecordingStack())), seed=1, rate=rate)
