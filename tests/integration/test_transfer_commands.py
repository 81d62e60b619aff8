"""`flask-redis-counter export` and `import`, run as processes."""

import fcntl
import gzip
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from flask_redis_counter import RedisCounter
from flask_redis_counter.testing import wait_until

from .support import KEY, contents, heed, nowhere

#: Number of counters whose import takes long enough to interrupt it.
MANY = 20_000

GOATCOUNTER = """2Path,Title,Event,UserAgent,Browser,System,Session,Bot,Referrer,Referrer scheme,\
Screen size,Location,FirstVisit,Date
/,Home,0,,,,1-1,0,,,"1280,768,1",AR,1,2020-12-01T00:07:10Z
/,Home,0,,,,1-2,0,,,"1280,768,1",AR,0,2020-12-02T00:07:10Z
/about,Home,0,,,,1-3,0,,,"1280,768,1",AR,1,2020-12-01T00:07:10Z
/about,Home,0,,,,1-4,7,,,"1280,768,1",AR,1,2020-12-01T00:07:10Z
"""


@pytest.fixture
def counter(server, client):
    """A counter on the same store."""
    with RedisCounter(server.url, timeout=10) as counter:
        yield counter


@pytest.fixture
def started(server, client, tmp_path):
    """Start the command in its own folder, on an empty store; kill it after the test."""
    running = []

    def start(*arguments, **options):
        environment = {**os.environ, "REDIS_URL": server.url, "COUNTER_MAX_COUNTERS": "100000"}
        environment |= options.pop("environment", {})
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | options
        command = [sys.executable, "-m", "flask_redis_counter", *map(str, arguments)]
        options = {"stderr": subprocess.PIPE, "cwd": tmp_path, "text": True} | options
        options["preexec_fn"] = heed  # tests that run in the background ignore Ctrl-C
        running.append(subprocess.Popen(command, env=environment, **options))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def run(started):
    """Run the command, check its exit code, and return what it printed."""

    def run(*arguments, code=0, given=None, **options):
        if given is not None:
            options["stdin"] = subprocess.PIPE
        process = started(*arguments, **options)
        out, err = process.communicate(given, timeout=60)
        assert process.returncode == code, (out, err)
        assert "Traceback" not in (err or "")
        return out, err

    return run


@pytest.fixture
def other(server, client):
    """Another Redis with plain keys; it is the other database of the same server."""
    url = server.url.removesuffix("0") + "1"
    with redis.Redis.from_url(url) as other:
        other.url = url
        other.address = url.removeprefix("redis://")
        yield other


@pytest.fixture
def many(other):
    """MANY keys in the other Redis; returns the values of their counters."""
    values = {f"page-{number}": number * 7 for number in range(MANY)}
    other.mset({f"hits:{name}": value for name, value in values.items()})
    return values


def stored(client, names):
    """Return the values of counters."""
    answers = client.mget([f"counter:{{{name}}}" for name in names])
    return {name: int(value) for name, value in zip(names, answers, strict=True)}


def test_export_and_import_round_trip(run, counter, client, tmp_path):
    """export writes all counters with their days as NDJSON; a second import changes nothing."""
    counter.hit("orders", 5)
    counter.set("visits", -7)
    _, err = run("export", "counters.ndjson")
    assert err == "2 counters exported\n"
    lines = (tmp_path / "counters.ndjson").read_text().splitlines()
    begin, orders, visits, end = map(json.loads, lines)
    assert begin == {"format": "flask-redis-counter", "version": 1, "expected": 2}
    assert (orders["name"], visits["name"], end) == ("orders", "visits", {"counters": 2})
    assert sum(day["hits"] for day in orders["days"].values()) == 5
    assert run("export")[0].splitlines() == lines
    client.flushall()
    assert run("import", "counters.ndjson")[0] == "2 counters from counters.ndjson\n       2 made\n"
    before = contents(client)
    for mode in ([], ["--add"], ["--replace"]):
        out, _ = run("import", "counters.ndjson", *mode)
        assert out.endswith("       2 unchanged: imported by an earlier run\n")
    assert contents(client) == before
    assert run("export")[0].splitlines() == lines
    assert [path.name for path in tmp_path.iterdir() if "store" not in path.name] == [
        "counters.ndjson"
    ]


def test_import_rejects_a_truncated_export(run, counter, client, tmp_path):
    """import reports how many counters the file has, and writes nothing."""
    names = [f"n{number:02}" for number in range(30)]
    for name in names:
        counter.set(name, 7)
    run("export", "all")
    client.flushall()
    text = (tmp_path / "all").read_text()
    for cut, here in ((text.index("n20") + 9, 21), (text.index('{"counters"'), 30)):
        (tmp_path / "part").write_text(text[:cut])
        _, err = run("import", "part", code=1)
        problem = f"it has no end mark, and {here} of about 30 counters; export again"
        assert f"Error: line {here + 1}: the export was cut off here: {problem}" in err
        assert client.dbsize() == 0
    (tmp_path / "part").write_text(text.replace('{"name": "n07"', "", 1))
    _, err = run("import", "part", "--skip-bad")
    assert "Error: line 9: " in err
    assert stored(client, set(names) - {"n07"}) == dict.fromkeys(set(names) - {"n07"}, 7)


def test_import_warns_of_csv_without_an_end_mark(run, client, tmp_path):
    """CSV of a spreadsheet is imported with a warning that lines may be missing."""
    (tmp_path / "list.csv").write_text("sep=;\nname;value\na;1\n")
    out, err = run("import", "list.csv")
    assert out.splitlines()[1:] == ["       1 made"]
    assert err == "Warning: the file has no end mark, as `export` writes it: lines may be missing\n"
    assert stored(client, ["a"]) == {"a": 1}


def test_csv_by_file_name_or_option(run, counter, tmp_path):
    """CSV is chosen by the file's name or by --format, and detected also if gzipped."""
    counter.hit("orders", 5)
    run("export", "counters.CSV")
    assert (tmp_path / "counters.CSV").read_text() == "name,value\norders,5\n#counters=1\n"
    assert run("export", "-", "--format=csv")[0] == "name,value\norders,5\n#counters=1\n"
    (tmp_path / "all.gz").write_bytes(
        gzip.compress(b"\xef\xbb\xbfname,value\r\norders,5\r\nb,1\r\n")
    )
    out, _ = run("import", "all.gz")
    assert out.splitlines()[1:] == [
        "       1 made",
        "       1 skipped: they exist already (--add adds to them, --replace sets them)",
    ]
    run("import", "all.gz", "--add")
    assert counter.values(["orders", "b"]) == {"orders": 10, "b": 1}


def test_json_summary(run, counter, tmp_path):
    """--json prints every number, also those that are 0."""
    counter.set("b", 1)
    given = '{"name": "a", "value": 1}\nbroken\n{"name": "b", "value": 1}\n'
    out, err = run("import", "-", "--source=me", "--json", "--skip-bad", given=given)
    assert json.loads(out) == {
        "source": "me",
        "counters": 2,
        "made": 1,
        "added": 0,
        "replaced": 0,
        "same": 0,
        "left": 1,
        "less": 0,
        "refused": 0,
        "bad": 1,
        "lost_views": 0,
        "bots": 0,
    }
    assert "line 2: invalid JSON" in err
    out, _ = run("export", tmp_path / "file", "--json")
    assert json.loads(out) == {"file": str(tmp_path / "file"), "exported": 2, "bad": 0}


def test_environment_names_the_store(run, server, client):
    """export and import use REDIS_URL and COUNTER_PREFIX."""
    given = '{"name": "a", "value": 1}\n'
    run("import", "-", "--source=me", given=given, environment={"COUNTER_PREFIX": "site:"})
    assert client.get("site:{a}") == b"1"
    assert given in run("export", environment={"COUNTER_PREFIX": "site:"})[0]
    assert run("export")[0].splitlines()[1:] == ['{"counters": 0}']
    _, err = run("export", code=2, environment={"COUNTER_PREFIX": "?"})
    assert err.startswith("Error: COUNTER_PREFIX: ")
    _, err = run("export", code=1, environment={"REDIS_URL": nowhere()})
    assert err.startswith("Error: no connection to the store")
    assert err.endswith("; the export is not complete\n")
    _, err = run(
        "import", "-", "--source=me", code=1, given=given, environment={"REDIS_URL": nowhere()}
    )
    assert err.endswith("; nothing was written\n")


def test_import_from_another_redis(run, client, other):
    """import reads keys by a pattern, or one key; the other Redis is not changed."""
    other.mset({"hits:home": 41, "hits:about": 7, "other": 1})
    other.execute_command("CONFIG", "RESETSTAT")
    out, _ = run("import", "--redis", other.url, "--match=hits:*", "--strip=hits:")
    assert out == f"2 counters from {other.address}\n       2 made\n"
    assert stored(client, ["home", "about"]) == {"home": 41, "about": 7}
    run("import", "--redis", other.url, "--key=other", "--name=third")
    assert stored(client, ["third"]) == {"third": 1}
    run("import", "--redis", other.url, "--key=other")
    assert stored(client, ["other"]) == {"other": 1}
    assert sorted(other.mget("hits:home", "hits:about", "other")) == [b"1", b"41", b"7"]
    assert other.dbsize() == 3
    other.incrby("hits:home", 2)
    run("import", "--redis", other.url, "--match=hits:*", "--strip=hits:", "--add")
    assert stored(client, ["home", "about"]) == {"home": 43, "about": 7}


def test_import_reports_invalid_keys(run, client, other):
    """Each invalid key is an error and nothing is written; --skip-bad imports the rest."""
    other.mset({"hits:a": 1, "hits:text": "x", "hits:a b": 1, "hits:": 1, b"hits:\xff": 1, "a": 2})
    other.rpush("hits:list", "1")
    match = ("import", "--redis", other.url, "--match=hits:*", "--strip=hits:")
    _, err = run(*match, code=1)
    lines = err.splitlines()
    assert sorted(line.partition("': ")[0] for line in lines[:-1]) == [
        f"Error: key 'hits:{key}" for key in ("", "\\udcff", "a b", "list", "text")
    ]
    assert "Error: key 'hits:list': holds a list, which is not an integer" in lines
    assert "Error: key 'hits:text': holds a string, which is not an integer" in lines
    assert lines[-1] == "Nothing was written; --skip-bad skips the invalid ones."
    assert client.dbsize() == 0
    out, err = run(*match, "--skip-bad")
    assert out.splitlines()[1:] == ["       1 made"]
    assert err.endswith("5 invalid, skipped\n")
    _, err = run("import", "--redis", other.url, "--match=*", "--strip=hits:", code=1)
    assert "has the same counter name, 'a'" in err
    _, err = run("import", "--redis", other.url, "--key=none", code=1)
    assert err.startswith("Error: key 'none': does not exist\n")


def test_import_without_the_other_redis(run):
    """One line has the error, without the password."""
    _, err = run("import", "--redis", nowhere(), "--match=*", code=1)
    assert err.startswith("Error: no connection")
    _, err = run("import", "--redis", "http://:secret@there", "--match=*", code=2)
    assert err.startswith("Error: --redis: its value does not begin with redis://, rediss:// ")
    assert "secret" not in err


def test_import_from_goatcounter(run, counter, tmp_path):
    """Page views become counters with days; bots are not counted."""
    (tmp_path / "export.csv").write_text(GOATCOUNTER)
    out, _ = run("import", "export.csv")
    assert out.splitlines() == [
        "2 counters from export.csv",
        "       2 made",
        "       1 page views of bots, not counted",
    ]
    assert run("export")[0].splitlines()[1:-1] == [
        '{"name": "about", "value": 1, "days": {"2020-12-01": {"hits": 1, "visitors": 1}}}',
        '{"name": "home", "value": 2, "days": {"2020-12-01": {"hits": 1, "visitors": 1}, '
        '"2020-12-02": {"hits": 1, "visitors": 0}}}',
    ]


def test_summary_has_lost_page_views(run, client, tmp_path):
    """The summary has the number of page views that are skipped, not only of paths."""
    more = "/a-b,,0,,,,1,0,,,,,1,2020-12-01T00:07:10Z\n"
    lost = "/a/b,,0,,,,1,0,,,,,1,2020-12-01T00:07:10Z\n" * 5
    (tmp_path / "export.csv").write_text(GOATCOUNTER + more + lost + "broken\n")
    _, err = run("import", "export.csv", code=1)
    assert client.dbsize() == 0
    out, err = run("import", "export.csv", "--skip-bad", "--json")
    assert err.endswith("2 invalid, skipped, with 6 page views\n")
    summary = json.loads(out)
    assert (summary["counters"], summary["bad"], summary["lost_views"]) == (3, 2, 6)
    assert stored(client, ["home", "about", "a-b"]) == {"home": 2, "about": 1, "a-b": 1}


def test_import_bounds_memory_of_a_line(server, client, tmp_path):
    """A line of 1.5 GB in a file of 1.5 MB is rejected before it takes the memory."""
    import_it = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); "
        "from flask_redis_counter.cli.main import main; main()"
    )
    block = gzip.compress(b"x" * 2**20)  # gzip files can be concatenated
    begin = gzip.compress(b'{"name": "')
    (tmp_path / "bomb.gz").write_bytes(begin + block * 1500)
    environment = {**os.environ, "REDIS_URL": server.url}
    command = [sys.executable, "-c", import_it, "import", str(tmp_path / "bomb.gz")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: bomb.gz: line 1 is longer than 4194304 characters")
    assert client.dbsize() == 0


def test_import_reports_invalid_lines(run, client, tmp_path):
    """The first 20 invalid lines are listed with their numbers, and nothing is written."""
    lines = ['{"name": "a", "value": 1}', *["broken"] * 25, '{"name": "b", "value": 2}']
    (tmp_path / "file").write_text("\n".join(lines))
    out, err = run("import", "file", code=1)
    assert out == ""
    shown = err.splitlines()
    assert shown[0].startswith("Error: line 2: invalid JSON")
    assert shown[19:] == [
        shown[0].replace("line 2", "line 21"),
        "Error: and 5 more",
        "Nothing was written; --skip-bad skips the invalid ones.",
    ]
    assert client.dbsize() == 0
    out, err = run("import", "file", "--skip-bad")
    assert out.splitlines()[1:] == ["       2 made"]
    assert err.endswith("25 invalid, skipped\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<html>\n", "its first line is neither"),
        (b"", "it is empty: there are no counters in it"),
        (gzip.compress(b'{"name": "a", "value": 1}\n' * 9)[:-9], "cannot be read: "),
    ],
    ids=["html", "empty", "truncated"],
)
def test_import_reports_unreadable_files(run, client, tmp_path, content, problem):
    """One line has the error, and nothing is written."""
    (tmp_path / "file").write_bytes(content)
    _, err = run("import", "file", code=1)
    assert err.startswith(f"Error: file: {problem}")
    assert err.endswith("; nothing was written\n")
    assert client.dbsize() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["import"],
        ["import", "there", "--redis=redis://a"],
        ["import", "there", "--match=a"],
        ["import", "there", "--add", "--replace"],
        ["import", "there", "--source="],
        ["import", "-"],
        ["import", "missing"],
        ["import", "--redis=redis://a"],
        ["import", "--redis=redis://a", "--match=a", "--key=a"],
        ["import", "--redis=redis://a", "--match=a", "--name=a"],
        ["import", "--redis=redis://a", "--key=a", "--strip=a"],
        ["import", "--redis=redis://a", "--key=a", "--format=csv"],
        ["export", "--json"],
        ["export", "."],
    ],
)
def test_options_that_do_not_go_together(run, tmp_path, arguments):
    """Usage errors are reported before anything is done."""
    (tmp_path / "there").write_text("")
    out, err = run(*arguments, code=2)
    assert out == ""
    assert "Error: " in err


def test_import_reports_refused_counters(run, client, tmp_path):
    """A refused counter is an error, the others are imported, and the exit code is 1."""
    client.set(KEY, "text")
    (tmp_path / "file").write_text("name,value\na,1\nvisits,1\n")
    out, err = run("import", "file", "--add", code=1)
    assert out.splitlines()[1:] == ["       1 made", "       1 could not be changed"]
    assert err.startswith("Error: visits: the key 'counter:{visits}' does not hold an integer")


def test_import_warns_of_max_counters(run):
    """import warns if hits over HTTP can make no further counters."""
    given = "name,value\na,1\nb,1\n#counters=2\n"
    options = {"given": given, "environment": {"COUNTER_MAX_COUNTERS": "2"}}
    _, err = run("import", "-", "--source=me", **options)
    assert err.startswith("Warning: COUNTER_MAX_COUNTERS (2) is reached")
    assert "raise it" in err
    _, err = run("import", "-", "--source=me", **options)
    assert err == ""


def interrupt(process):
    """Interrupt a process, up to three times: Python may miss a signal."""
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=10)
    raise AssertionError("the process does not end")


@pytest.mark.parametrize("hits", [0, 3])
def test_import_continues_after_an_interrupt(started, run, client, other, many, counter, hits):
    """After Ctrl-C, another run continues, and the sums are exact."""
    arguments = ("import", "--redis", other.url, "--match=hits:*", "--strip=hits:", "--add")
    process = started(*arguments)
    wait_until(lambda: client.dbsize() > 1000, what="a part of the counters", pause=0.005)
    client.client_pause(60_000, all=False)  # it is interrupted while it waits for an answer
    out, err = interrupt(process)
    client.client_unpause()
    assert (process.returncode, out) == (130, "")
    assert err.startswith("Stopped: ")
    assert err.endswith("run it again to continue: no counter is imported twice\n")
    done = int(err.split()[1])
    names = [name.decode() for name in client.zrange("counter:{}:names", 0, -1)]
    assert 0 < done <= len(names) < MANY
    for _ in range(hits):
        counter.hit(names[0])
    out, _ = run(*arguments)
    made, same = (int(line.split()[0]) for line in out.splitlines()[1:])
    assert (made, same) == (MANY - len(names), len(names))
    assert stored(client, many) == many | {names[0]: many[names[0]] + hits}


def is_waiting_for_input(process, fifo):
    """Return whether the process has read all input and sleeps.

    Python handles a signal that arrives just before a read only after the read.
    """
    left = fcntl.ioctl(fifo, termios.FIONREAD, bytes(4))
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return not any(left) and stat.rpartition(")")[2].split()[0] == "S"


def test_import_interrupted_while_reading(started, client, tmp_path):
    """After Ctrl-C while the input is read, nothing is written."""
    os.mkfifo(tmp_path / "fifo")
    process = started("import", "fifo", "--source=me")
    with (tmp_path / "fifo").open("w") as fifo:  # blocks until both ends are open
        fifo.write("name,value\n")
        fifo.flush()
        wait_until(lambda: is_waiting_for_input(process, fifo), what="it to wait for more")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "Stopped: nothing was written\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_export_interrupted(started, client, counter, tmp_path, number, code):
    """After a signal an older file is unchanged, and no partial file is left."""
    client.zadd("counter:{}:names", {f"n{it}": 0 for it in range(MANY)})
    client.mset({f"counter:{{n{it}}}": it for it in range(MANY)})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "counters").write_text("before")
    process = started("export", folder / "counters")
    wait_until(lambda: len(list(folder.iterdir())) == 2, what="a file beside it", pause=0.005)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert [path.name for path in folder.iterdir()] == ["counters"]
    assert (folder / "counters").read_text() == "before"
    assert err == ("" if code == 143 else f"Stopped: {folder / 'counters'} was not written\n")


def test_export_to_a_closed_pipe(started, client):
    """`export | head` ends with one line, and with the exit code of SIGPIPE."""
    client.zadd("counter:{}:names", {f"n{it}": 0 for it in range(MANY)})
    client.mset({f"counter:{{n{it}}}": it for it in range(MANY)})
    process = started("export")
    assert json.loads(process.stdout.readline())["expected"] == MANY
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(30) == 141
    assert err == "Stopped: standard output was closed; the export is not complete\n"


def test_closed_standard_output(server, counter, client):
    """Nothing is written to descriptor 1 if it is closed: the store's connection may have it."""
    counter.hit("a")
    before = contents(client)
    for command in ("export", "import --json --redis $REDIS_URL --key counter:{a} --name a"):
        ended = subprocess.run(
            ["bash", "-c", f"exec {sys.executable} -m flask_redis_counter {command} >&-"],
            env={**os.environ, "REDIS_URL": server.url},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert ended.returncode == 1
        assert ended.stderr.startswith("Error: standard output is closed; ")
    assert contents(client) == before


def test_full_disk(run, server, counter, tmp_path):
    """An older file is unchanged, no partial file is left, and one line has the reason."""
    for number in range(100):
        counter.set(f"n{number}", number)
    with Path("/dev/full").open("w") as full:
        _, err = run("export", code=1, stdout=full)
        assert err == "Error: No space left on device; the export is not complete\n"
        _, err = run("import", "-", "--source=me", code=1, stdout=full, given="name,value\na,1\n")
        assert "No space left on device" in err
    folder = tmp_path / "folder"
    folder.mkdir()
    run("export", folder / "counters")
    before = (folder / "counters").read_text()
    counter.hit("n0")
    limited = f'ulimit -f 1; exec {sys.executable} -m flask_redis_counter export "$1"'
    ended = subprocess.run(
        ["bash", "-c", limited, "bash", folder / "counters"],
        env={**os.environ, "REDIS_URL": server.url},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert [path.name for path in folder.iterdir()] == ["counters"]
    assert (folder / "counters").read_text() == before


def test_export_keeps_mode_and_link(run, counter, tmp_path):
    """The file's mode follows the umask or stays as it was, and a symbolic link stays one."""
    counter.hit("a")
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real / "counters")
    run("export", "link", umask=0o027)
    assert (real / "counters").stat().st_mode & 0o777 == 0o640
    (real / "counters").chmod(0o600)
    run("export", "link", umask=0o027)
    assert (real / "counters").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link").is_symlink()
    _, err = run("export", "none/counters", code=1)
    assert err == "Error: No such file or directory; none/counters was not written\n"
    run("export", "/dev/null")


def on_a_terminal(started, columns, term, *arguments):
    """Run a command whose standard error is a terminal, and return its output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 * bool(columns), columns, 0, 0))
    process = started(*arguments, stderr=theirs, environment={"TERM": term, "NO_COLOR": "1"})
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(30) == 0
    return shown.decode()


def test_progress_bar_fits_the_terminal(started, client, counter, tmp_path):
    """The bar is drawn up to 100% on a terminal that can redraw, and is not wider than that."""
    for number in range(500):
        counter.set(f"n{number}", number)
    for columns, term in ((80, "xterm"), (50, "xterm"), (0, "xterm")):
        shown = on_a_terminal(started, columns, term, "export", "file")
        assert "Exporting" in shown
        assert "100%" in shown
        widest = max(len(line.replace("\x1b[?25l", "")) for line in shown.split("\r"))
        assert widest <= (columns or 80)
        shown = on_a_terminal(started, columns, term, "import", "file")
        assert shown.count("100%") == 2
        assert shown.index("Checking") < shown.index("Importing")
    for columns, term in ((80, "dumb"), (20, "xterm")):
        shown = on_a_terminal(started, columns, term, "export", "file")
        assert shown == "500 counters exported\r\n"


def test_help_has_exit_codes(run):
    """--help of export and import lists the exit codes."""
    for command in ("export", "import"):
        assert "130" in run(command, "--help")[0]
