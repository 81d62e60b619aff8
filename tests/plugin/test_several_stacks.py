"""Each test gets the stack of its own folder's Compose files."""

import pytest

from flask_redis_counter.testing import ComposeStack

from .conftest import COMPOSE, CONFTEST

pytestmark = pytest.mark.compose

#: The conftest.py of a folder with its own Compose file.
FOLDER = """
import pytest
from pathlib import Path

@pytest.fixture(scope="session")
def docker_compose_file():
    return (Path(__file__).with_name("compose.yml"),)  # pytest-docker takes a tuple as well
"""

SEEDED_FIXTURE = """
@pytest.fixture(scope="session")
def seeded(shared_stack):
    shared_stack.run_redis_command(shared_stack.services()[0], "SET", "seed", "sown")
    return shared_stack
"""

FOLDER_TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_own_stack(stack, seeded, number):
    assert stack is seeded
    assert stack.services() == ("{0}",)
    assert stack.run_redis_command("{0}", "GET", "seed") == "sown"
"""

#: A Compose file that depends on the environment, for example on a server's version.
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

ENDPOINT_TEST = """
import pytest
from flask_redis_counter.testing import Endpoint

@pytest.fixture(scope="session")
def stack_endpoint():
    return Endpoint("{0}", 80)

def test_endpoint(stack):
    assert stack.endpoint.service == "{0}"
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
    """Run the tests of the project with two folders."""
    pytester.makeconftest(CONFTEST + SEEDED_FIXTURE)
    pytester.path.joinpath("test_it.py").unlink()
    make_folders(pytester, FOLDER_TESTS)
    return suite


@pytest.mark.parametrize("options", [(), ("-n2",)], ids=["alone", "workers"])
def test_two_folders_have_a_stack_each(folders, project, options):
    """Session fixtures that use the stack are set up again for each stack."""
    folders(*options).assert_outcomes(passed=6)
    for name in (project, f"{project}-2"):
        assert ComposeStack([], name).leftovers() == []


def test_two_folders_in_turn(folders, project):
    """Each change of folder removes one stack and starts the other."""
    own_test = "shop/test_shop.py::test_own_stack"
    folders(f"{own_test}[1]", "blog", f"{own_test}[2]").assert_outcomes(passed=5)
    assert ComposeStack([], project).leftovers() == []


def test_two_kept_stacks_have_two_names(folders, project):
    """With one name, Compose would replace the first stack."""
    output = folders("--stack-keep").stdout.str()
    assert f"the stack {project} is still running" in output
    assert f"the stack {project}-2 is still running" in output
    assert {ComposeStack([], name).services() for name in (project, f"{project}-2")} == {
        ("shop",),
        ("blog",),
    }


def test_attach_to_stack_of_other_files_is_error(folders, project):
    """The error names both sets of files."""
    folders("--stack-keep", "shop").assert_outcomes(passed=3)
    result = folders(f"--stack-attach={project}")
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(
        [f"*{project} was created from *shop/compose.yml, and not from *blog/compose.yml"]
    )


def test_stack_requested_dynamically_with_other_files_is_error(suite, pytester):
    """The plugin cannot see getfixturevalue() in advance; the error names both sets of files."""
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
def test_parametrized_compose_file(suite, pytester, project, options):
    """Each parameter has its own stack, also if they differ only in the environment."""
    pytester.makefile(".yml", compose=LIMITED)
    pytester.makeconftest(CONFTEST.partition("@pytest")[0] + PARAMETERS + PROJECT)
    pytester.makepyfile(test_it=LIMITS)
    suite(*options).assert_outcomes(passed=8)
    for name in (project, f"{project}-2"):
        assert ComposeStack([], name).leftovers() == []


def test_same_files_with_another_endpoint(suite, pytester):
    """Both folders share one stack, which is not restarted."""
    pytester.path.joinpath("test_it.py").unlink()
    for name in ("shop", "blog"):
        pytester.mkdir(name).joinpath(f"test_{name}.py").write_text(ENDPOINT_TEST.format(name))
    suite().assert_outcomes(passed=2)
    assert pytester.path.joinpath("hits").read_text() == "1\n2\n"
