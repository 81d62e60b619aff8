"""The package ``bench`` of the checkout, which is not installed."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "bench"

# Not by its name: with the folder of the checkout on the path, the package there would be tested.
_spec = spec_from_file_location(
    "bench", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
)
sys.modules["bench"] = module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["bench"])


@pytest.fixture
def make_load():
    """Return a function that makes the result of a run of one second."""
    from bench.load import Load

    def make(requests, *, p50=1.0, p99=2.0, non_2xx=0, failed=0):
        return Load(1.0, requests, p50, p99, non_2xx, failed)

    return make


@pytest.fixture
def make_report(make_load):
    """Return a function that makes a report of three rounds; each rate is the middle one."""
    from bench.contestants import CONTESTANTS, OURS
    from bench.inprocess import InProcess
    from bench.race import Results
    from bench.report import Report

    def make(rates, *, without=(), sweep=None):
        names = [each.name for each in CONTESTANTS if each not in without]
        speeds = {name: rates.get(name, 1000) for name in names}
        loads = {
            name: [make_load(rate), make_load(rate // 2), make_load(rate * 2)]
            for name, rate in speeds.items()
        }
        cpu = {name: [5.0 if name == OURS.name else 10.0] * 3 for name in names}
        library = InProcess(
            {1: [(9.0, 10.0)] * 3, 16: [(30.0, 10.0), (50.0, 10.0), (40.0, 10.0)]},
            [(1.05, 1.0)] * 3,
        )
        memory = [{"rss": 40.0, "pss": 30.0}, {"rss": 60.0, "pss": 31.0}]
        machine = {"cores": 2, "store": "valkey 9"}
        variants = {"alike": [make_load(900)], "varied": [make_load(700)]}
        return Report(
            Results(loads, cpu), sweep or {}, variants, library, [0.2, 0.3, 0.9], memory, machine
        )

    return make
