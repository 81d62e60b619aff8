"""Faults heal whatever happens, never swallow, and are there when their block begins."""

import pytest

from flask_redis_counter.testing import Faults, Nemesis, StackError, StackTimeoutError, wait_until

from .recording import RecordingProxy, RecordingStack

FAULTS = {
    "stopped": (lambda faults: faults.stopped("redis"), "stop", "start redis"),
    "killed": (lambda faults: faults.killed("redis"), "kill", "start redis"),
    "replica": (lambda faults: faults.killed("redis", replica=0), "kill", "start redis"),
    "paused": (lambda faults: faults.paused("redis"), "pause", "unpause redis"),
    "partitioned": (lambda faults: faults.partitioned("redis"), "isolate", "reconnect redis"),
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

each_fault = pytest.mark.parametrize(("fault", "harm", "cure"), FAULTS.values(), ids=FAULTS)


@each_fault
def test_it_heals_and_does_not_swallow(fault, harm, cure):
    """Whatever happens inside, the stack is healed, and the failure goes on."""
    stack = RecordingStack()
    told = None
    with pytest.raises(KeyError), fault(Faults(stack)):
        raise KeyError(told := list(stack.told))
    assert told[-1] != cure
    assert stack.told[-1] == cure


@pytest.mark.parametrize(
    ("fault", "harm", "cure"), [each for each in FAULTS.values() if each[1] != "CONFIG"]
)
def test_it_heals_where_it_came_about_half_way(fault, harm, cure):
    """A command that failed may have had its effect."""
    stack = RecordingStack(harm)
    with pytest.raises(StackError, match=harm), fault(Faults(stack)):
        pytest.fail("not reached")
    assert stack.told[-1] == cure


@each_fault
def test_its_history_has_each_step(fault, harm, cure):
    """For the report of a test that failed."""
    faults = Faults(RecordingStack())
    with fault(faults):
        assert [event.phase for event in faults.history] == ["injecting", "active"]
    phases = [event.phase for event in faults.history]
    assert phases == ["injecting", "active", "clearing", "cleared"]
    assert len({event.fault for event in faults.history}) == 1


def test_what_cannot_be_healed_does_not_hide_why_the_test_failed():
    """The failure goes on, with a note."""
    with pytest.raises(KeyError) as raised, Faults(RecordingStack("start")).killed("redis"):
        raise KeyError
    assert raised.value.__notes__ == ["redis killed: not cleared: start"]
    with pytest.raises(StackError), Faults(RecordingStack("start")).killed("redis"):
        pass


def test_a_fault_that_does_not_come_about_is_an_error(monkeypatch):
    """The block would otherwise test a stack that is whole."""
    stack = RecordingStack()
    monkeypatch.setattr(stack, "kill", lambda *_, **__: None)
    fault = Faults(stack, timeout=0).killed("redis")
    with pytest.raises(StackTimeoutError, match="redis exited") as raised, fault:
        pytest.fail("not reached")
    assert "redis-1 running" in str(raised.value)
    assert "web| the log" in str(raised.value)
    assert [one.status for one in raised.value.replicas] == ["running"]


def test_one_trouble_at_a_time():
    """A second one would end the first, and healing it would heal both."""
    stack = RecordingStack()
    faults = Faults(stack)
    with faults.latency("redis", 0.2):
        already = r"bandwidth limited by 9: redis-proxy .* already: network of redis latency by 0.2"
        with pytest.raises(StackError, match=already), faults.bandwidth_limited("redis", 9):
            pytest.fail("not reached")
        assert stack.told == ["latency 0.2"]
        with faults.bandwidth_limited("web", 9):  # which has a proxy of its own
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
    ],
)
def test_no_fault_ends_another_one(outer, inner):
    """The outer block would go on without its fault, and nobody would know."""
    stack = RecordingStack(replicas=2)
    faults = Faults(stack)
    with outer(faults):
        told = list(stack.told)
        with pytest.raises(StackError, match="can have one fault at a time"), inner(faults):
            pytest.fail("not reached")
        assert stack.told == told
    with inner(faults):
        pass


def test_faults_of_several_replicas():
    """Each starts what it has killed, and no other."""
    stack = RecordingStack(replicas=3)
    faults = Faults(stack)
    with faults.killed("redis", replica=0):
        with faults.killed("redis", replica=1):
            pass
        assert [one.status for one in stack.state("redis")] == ["exited", "running", "running"]
    assert stack.told == [
        "kill redis 0",
        "kill redis 1",
        "start redis 1",
        "start redis 0",
    ]


def test_what_did_not_run_before_does_not_run_afterwards():
    """The test has killed it, and the fault only the others."""
    stack = RecordingStack(replicas=3)
    stack.kill("redis", replica=1)
    with Faults(stack).stopped("redis"):
        pass
    assert stack.told[1:] == ["stop redis", "start redis 0", "start redis 2"]
    assert [one.status for one in stack.state("redis")] == ["running", "exited", "running"]


@pytest.mark.parametrize(
    "fault",
    [
        lambda faults: faults.killed("redis"),
        lambda faults: faults.killed("redis", replica=7),
        lambda faults: faults.paused("redis"),
        lambda faults: faults.partitioned("redis"),
    ],
)
def test_what_does_not_run_cannot_be_killed(fault):
    """As a job that is done: nothing was done, and the job must not run again."""
    stack = RecordingStack()
    stack.stop("redis")
    faults = Faults(stack)
    with pytest.raises(StackError, match=r"target does not run: redis-1 exited"), fault(faults):
        pytest.fail("not reached")
    assert (stack.told, faults.history) == (["stop redis"], [])


@each_fault
def test_a_service_that_is_not_there(fault, harm, cure, monkeypatch):
    """The error has those that are; nothing was done, and nothing is healed."""
    stack = RecordingStack()
    monkeypatch.setattr(stack, "state", lambda service: ())
    faults = Faults(stack)
    with pytest.raises(StackError, match=r"no such service; it has redis") as raised, fault(faults):
        pytest.fail("not reached")
    assert not hasattr(raised.value, "__notes__")
    assert (stack.told, faults.history) == ([], [])


def test_two_fill_a_disk():
    """The one that ends first leaves it full."""
    stack = RecordingStack()
    faults = Faults(stack)
    with faults.disk_full("redis", "/data"):
        with faults.disk_full("proxy", "/data"):
            assert len(stack.fillers) == 2
        assert len(stack.fillers) == 1
    assert not stack.fillers


def test_a_proxy_is_healed_where_it_is_then(monkeypatch):
    """It may have been started again meanwhile, and be reached elsewhere."""
    stack = RecordingStack()
    with Faults(stack).latency("redis", 0.2):
        monkeypatch.setattr(stack, "proxy", lambda service: RecordingProxy(elsewhere))
        elsewhere = RecordingStack()
    assert (stack.told, elsewhere.told) == (["latency 0.2"], ["clear"])


def test_a_disk_of_the_machine_is_not_filled():
    """A folder without a limit of its own may be anybody's."""
    stack = RecordingStack(free=10_000_000)
    with pytest.raises(StackError, match="9765 MB free"), Faults(stack).disk_full("redis", "/data"):
        pytest.fail("not reached")
    assert "dd" not in stack.told


def test_a_stack_that_does_not_come_up_is_removed():
    """With its volumes, and with its logs kept for the report."""
    stack = RecordingStack("up")
    with pytest.raises(StackError, match="up"), stack:
        pytest.fail("not reached")
    assert stack.told == ["up", "down with volumes"]
    assert stack.final_logs == {"web": "the log"}


# The nemesis


def kinds(faults):
    """Two faults to choose from."""
    return {
        "killed": lambda: faults.killed("redis"),
        "paused": lambda: faults.paused("redis"),
    }


def test_the_same_seed_makes_the_same_plan():
    """And another seed another one; each kind comes once before one comes again."""
    faults = Faults(RecordingStack())

    def plan(seed):
        made = Nemesis(kinds(faults), seed=seed).plan()
        return [next(made) for _ in range(20)]

    assert plan(1) == plan(1) != plan(2)
    for first, second in zip(plan(1)[::2], plan(1)[1::2], strict=True):
        assert {first.kind, second.kind} == {"killed", "paused"}


@pytest.mark.parametrize("rate", [1, 20, 600])
def test_its_rate_is_the_average(rate):
    """Of the faults and the calm after them."""
    made = Nemesis(kinds(Faults(RecordingStack())), seed=4, rate=rate).plan()
    faults = [next(made) for _ in range(4000)]
    seconds = sum(fault.duration + fault.pause for fault in faults)
    assert 60 * len(faults) / seconds == pytest.approx(rate, rel=0.05)


def test_a_nemesis_acts_while_its_block_runs():
    """It ends with everything healed."""
    faults = Faults(RecordingStack())
    with Nemesis(kinds(faults), seed=7, rate=600) as nemesis:
        wait_until(lambda: len(nemesis.done) >= 3, what="three faults")
    assert faults.history[-1].phase == "cleared"
    assert faults.stack.state("redis")[0].status == "running"
    assert f"seed 7, {len(nemesis.done)} faults" in str(nemesis)


def test_a_nemesis_that_fails_says_so():
    """At the end of its block, unless the block has failed by itself."""
    failing = Nemesis(kinds(Faults(RecordingStack("kill", "pause"))), seed=7)
    with pytest.raises(StackError, match=r"kill|pause"), failing:
        pass
    with pytest.raises(KeyError), Nemesis(kinds(Faults(RecordingStack("kill"))), seed=7):
        raise KeyError


@pytest.mark.parametrize("rate", [0, 601])
def test_a_rate_out_of_bounds(rate):
    """An error at once."""
    with pytest.raises(ValueError, match="from 1 to 600"):
        Nemesis(kinds(Faults(RecordingStack())), seed=1, rate=rate)
