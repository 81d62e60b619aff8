"""The simulation of a cluster, its costs, and the limit of a master's CPU time."""

import pytest

from bench.scale import cpu_limit
from bench.scale.costs import Costs, fit
from bench.scale.cpu_limit import CPULimit
from bench.scale.sample import Sample, Setup
from bench.scale.simulation import Place, simulate

COSTS = Costs(
    hit=20e-6, batch=60e-6, call=10e-6, store_batch=8e-6, store_call=12e-6, idle=0.0, client=5e-6
)
MANY = 1000


def _rate(setup, costs=COSTS, **place):
    """Return the hits a second of a simulation."""
    return simulate(setup, costs, Place(**place), hits=20_000).rate


def test_a_lone_client_waits_for_each_step():
    """Its latency is the sum of all costs and delays."""
    result = simulate(Setup(1, 1, 1, workers=1), COSTS, Place(delay=100e-6), hits=3000)
    latency = 20e-6 + 60e-6 + 10e-6 + 8e-6 + 12e-6 + 4 * 100e-6
    assert result.p50 == pytest.approx(latency * 1e3)
    assert result.rate == pytest.approx(1 / latency)
    assert result.hits_per_call == 1
    assert result.master_busy == pytest.approx(20e-6 / latency)


def test_busy_masters_set_the_rate_of_many_counters():
    """The rate is one master's times their number, while the workers have time left."""
    one, four = (_rate(Setup(masters, MANY, 4096, workers=64), delay=100e-6) for masters in (1, 4))
    assert one == pytest.approx(1 / COSTS.store_call, rel=0.1)
    assert four == pytest.approx(4 * one, rel=0.1)


def test_one_counter_stays_on_one_master():
    """More masters do not help it; hits that share calls do."""
    one, four = (
        simulate(Setup(masters, 1, 4096, workers=64), COSTS, Place(delay=100e-6), hits=50_000)
        for masters in (1, 4)
    )
    assert four.rate == pytest.approx(one.rate, rel=0.02)
    assert one.hits_per_call > 10
    assert one.rate > 5 / COSTS.store_call


def test_a_share_of_a_core_slows_the_master():
    """A tenth of the time is a tenth of the rate."""
    whole, tenth = (_rate(Setup(1, MANY, 1024, share, 16)) for share in (None, 0.1))
    assert tenth == pytest.approx(whole / 10, rel=0.1)


def test_cores_are_shared():
    """On two cores the rate is two divided by the CPU time of a hit."""
    costs = Costs(20e-6, 0, 10e-6, 0, 12e-6, 0, 5e-6)
    assert _rate(Setup(3, MANY, 256, workers=4), costs, cores=2) == pytest.approx(
        2 / 47e-6, rel=0.05
    )


def test_fit_finds_the_costs():
    """Costs that made the CPU times are found again."""
    samples = [
        Sample(
            setup=Setup(1, 1, 1),
            seconds=1.0,
            hits=hits,
            p99=1.0,
            batches=batches,
            calls=calls,
            worker_cpu=hits * COSTS.hit + batches * COSTS.batch + calls * COSTS.call,
            store_cpu=(batches * COSTS.store_batch, calls * COSTS.store_call),
            client_cpu=hits * COSTS.client,
        )
        for hits, batches, calls in [
            (9000, 9000, 9000),
            (50_000, 2000, 2000),
            (30_000, 3000, 29_000),
        ]
    ]
    found = fit(samples)
    for name in Costs.__dataclass_fields__:
        assert getattr(found, name) == pytest.approx(getattr(COSTS, name)), name


@pytest.mark.parametrize(
    ("is_unified", "files", "unlimited"),
    [
        (True, {"cpu.max": "2000 10000"}, {"cpu.max": "max 10000"}),
        (
            False,
            {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "2000"},
            {"cpu.cfs_quota_us": "-1"},
        ),
    ],
)
def test_cpu_limit_writes_the_control_group(is_unified, files, unlimited, tmp_path, monkeypatch):
    """Both versions of control groups get the quota, and the process leaves in the end."""
    monkeypatch.setattr(cpu_limit, "_ROOT", tmp_path)
    parent = tmp_path if is_unified else tmp_path / "cpu"
    parent.mkdir(exist_ok=True)
    if is_unified:
        (tmp_path / "cgroup.controllers").write_text("cpu")
    limit = CPULimit(123)
    [folder] = [path for path in parent.iterdir() if path.is_dir()]
    assert (folder / "cgroup.procs").read_text() == "123"
    limit.set(0.2)
    for name, text in files.items():
        assert (folder / name).read_text() == text
    limit.set(None)
    for name, text in unlimited.items():
        assert (folder / name).read_text() == text
    for path in folder.iterdir():  # the kernel's files vanish with the folder
        path.unlink()
    limit.__exit__()
    assert (parent / "cgroup.procs").read_text() == "123"
    assert not folder.exists()
