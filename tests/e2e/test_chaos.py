"""Everything at once: many clients, and one fault after the other."""

from flask_redis_counter.testing import run_chaos
from flask_redis_counter.testing.workload.chaos import FAULTS, WARMUP_HITS


def test_chaos(new_stack, pytestconfig):
    """Whatever happens, what was acknowledged is counted, once; with a key, every hit is."""
    minutes, seed, max_pause = map(
        pytestconfig.getoption, ("--minutes", "--nemesis-seed", "--max-pause")
    )
    with new_stack(replicas=2) as stack:
        report = run_chaos(stack, seconds=60 * minutes, seed=seed, max_pause=max_pause)
    assert report.faults.keys() == FAULTS.keys()
    keyed, unkeyed, mixed = (report.results[crowd] for crowd in ("keyed", "unkeyed", "mixed"))
    assert keyed.unknown == 0, "a hit with a key is repeated until it is acknowledged"
    for verdict in (keyed, unkeyed, mixed):
        assert verdict.acknowledged >= WARMUP_HITS * len(FAULTS)
        assert verdict.not_counted + verdict.resolved, "nobody was refused: that was no chaos"
        assert verdict.reads
    assert keyed.resolved + unkeyed.unknown, "no answer was lost on its way: that was no chaos"
