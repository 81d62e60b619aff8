"""A test has the stack of its own Compose files, whatever the run has besides."""

import pytest

from flask_redis_counter.testing import ComposeStack

from .conftest import COMPOSE, CONFTEST

pytestmark = pytest.mark.compose

#: Two folders, each with its own Compose file; what is made once for a stack, in the root.
FOLDER = """
import pytest
from pathlib import Path

@pytest.fixture(scope="session")
def docker_compose_file():
    return (Path(__file__).with_name("compose.yml"),)  # pytest-docker takes a tuple as well
"""

SEEDED = """
@pytest.fixture(scope="session")
def seeded(shared_stack):
    shared_stack.store(shared_stack.services()[0], "SET", "seed", "sown")
    return shared_stack
"""

OWN = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it_is_mine(stack, seeded, number):
    assert stack is seeded
    assert stack.services() == ("{0}",)
    assert stack.run_redis_command("{0}", "GET", "seed") == "sown"
"""

#: A Compose file that the environment changes, as for each version of a server.
LIMITED = COMPOSE + '    command: [redis-server, --maxmemory, "$LIMIT"]\n'

PARAMETERS = """
@pytest.fixture(scope="session", params=["7000000", "8000000"])
def docker_compose_file(request, pytestconfig):
    os.environ["LIMIT"] = request.param
    return str(pytestconfig.rootpath / "compose.yml")
"""

PROJECT = """
@pytest.fixture(scope="session")
def docker_compose_project_name():
    return os.environ["PROJECT"]
"""

LIMITS = """
import os, pytest

@pytest.mark.parametrize("number", range(4))
def test_its_limit(stack, number):
    maxmemory = stack.run_redis_command("redis", "CONFIG", "GET", "maxmemory")
    assert maxmemory.split()[-1] == os.environ["LIMIT"]
"""

ENTRY = """
import pytest
from flask_redis_counter.testing import Endpoint

@pytest.fixture(scope="session")
def stack_endpoint():
    return Endpoint("{0}", 80)

def test_its_entry(stack):
    assert stack.entry.service == "{0}"
    with open("hits", "a") as hits:
        print(stack.run_redis_command("redis", "INCR", "hits"), file=hits)
"""


def make_folders(pytester, source):
    """Make two folders, `shop` and `blog`, each with a Compose file of its own and a test."""
    for name in ("shop", "blog"):
        folder = pytester.mkdir(name)
        (folder / "conftest.py").write_text(FOLDER)
        (folder / "compose.yml").write_text(COMPOSE.replace("redis:\n", f"{name}:\n", 1))
        (folder / f"test_{name}.py").write_text(source.format(name))


@pytest.fixture
def folders(suite, pytester):
    """The project with the two folders."""
    pytester.makeconftest(CONFTEST + SEEDED)
    pytester.path.joinpath("test_it.py").unlink()
    make_folders(pytester, OWN)
    return suite


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["alone", "workers"])
def test_two_folders_have_a_stack_each(folders, project, options):
    """And so has what is made once for all tests of a stack, wherever it is defined."""
    folders(*options).assert_outcomes(passed=6)
    for name in (project, f"{project}-2"):
        assert ComposeStack([], name).leftovers() == []


def test_two_folders_in_turn(folders, project):
    """Each time they change places the one stack goes and the other comes."""
    mine = "shop/test_shop.py::test_it_is_mine"
    folders(f"{mine}[1]", "blog", f"{mine}[2]").assert_outcomes(passed=5)
    assert ComposeStack([], project).leftovers() == []


def test_two_stacks_are_kept_under_two_names(folders, project):
    """A second stack of the same project would replace the first."""
    said = folders("--stack-keep").stdout.str()
    assert f"the stack {project} is still running" in said
    assert f"the stack {project}-2 is still running" in said
    assert {ComposeStack([], name).services() for name in (project, f"{project}-2")} == {
        ("shop",),
        ("blog",),
    }


def test_a_stack_of_other_files_cannot_be_attached(folders, project):
    """The error names both sets of files."""
    folders("--stack-keep", "shop").assert_outcomes(passed=3)
    result = folders(f"--stack-attach={project}")
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(
        [f"*{project} was created from *shop/compose.yml, and not from *blog/compose.yml"]
    )


def test_a_stack_that_is_asked_for_too_late(suite, pytester):
    """pytest does not tell of it beforehand: an error that names both sets of files."""
    asks = "def test_it(request):\n    request.getfixturevalue('stack')\n"
    make_folders(pytester, asks)
    result = suite("shop", "blog")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*StackError: blog/test_blog.py::test_it has the Compose files *blog/compose.yml, but "
            "the stack has *shop/compose.yml: name the fixture*"
        ]
    )


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["alone", "workers"])
def test_a_compose_file_with_parameters(suite, pytester, project, options):
    """Each has a stack of its own, also where only the environment tells them apart."""
    pytester.makefile(".yml", compose=LIMITED)
    pytester.makeconftest(CONFTEST.partition("@pytest")[0] + PARAMETERS + PROJECT)
    pytester.makepyfile(test_it=LIMITS)
    suite(*options).assert_outcomes(passed=8)
    for name in (project, f"{project}-2"):
        assert ComposeStack([], name).leftovers() == []


def test_the_same_files_with_another_entry(suite, pytester):
    """One stack, which is reached elsewhere: it is still running."""
    pytester.path.joinpath("test_it.py").unlink()
    for name in ("shop", "blog"):
        pytester.mkdir(name).joinpath(f"test_{name}.py").write_text(ENTRY.format(name))
    suite().assert_outcomes(passed=2)
    assert pytester.path.joinpath("hits").read_text() == "1\n2\n"
