"""Chaos test: many clients under random faults."""

from flask_redis_counter.testing import run_chaos
from flask_redis_counter.testing.workload.chaos import FAULTS, WARMUP_HITS


def test_chaos(new_stack, pytestconfig):
    """Acknowledged hits count exactly once; with keys, all hits do."""
    minutes, seed, max_pause = map(
        pytestconfig.getoption, ("--minutes", "--nemesis-seed", "--max-pause")
    )
    with new_stack(replicas=2) as stack:
        report = run_chaos(stack, seconds=60 * minutes, seed=seed, max_pause=max_pause)
    assert report.faults.keys() == FAULTS.keys()
    keyed, unkeyed, mixed = (report.results[name] for name in ("keyed", "unkeyed", "mixed"))
    assert keyed.unknown == 0, "a hit with a key is repeated until it is acknowledged"
    for result in (keyed, unkeyed, mixed):
        assert result.acknowledged >= WARMUP_HITS * len(FAULTS)
        assert result.not_counted + result.resolved, "no attempt failed: the faults had no effect"
        assert result.reads
    assert keyed.resolved + unkeyed.unknown, "no response was lost: the faults had no effect"
