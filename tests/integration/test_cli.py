"""Commands of `flask-redis-counter` other than `serve`, `export` and `import`."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from flask_redis_counter import RedisCounter, Spool
from flask_redis_counter.cli.main import main
from flask_redis_counter.config.settings import SETTINGS
from flask_redis_counter.store.embedded import EmbeddedValkey
from flask_redis_counter.testing import wait_until

from .support import KEY, contents, heed, nowhere, wait_for_replicas

PROGRAM = [sys.executable, "-m", "flask_redis_counter"]


@pytest.fixture
def cli(monkeypatch):
    """Run a command, check its exit code, and return its output."""
    for name in SETTINGS:
        monkeypatch.setenv(name, "")

    def run(*arguments, code=0, **settings):
        result = CliRunner().invoke(main, arguments, env=settings)
        assert result.exit_code == code, result.output
        return result.output

    return run


def findings(cli, code, **settings):
    """Return the problems that doctor finds, by subject."""
    found = json.loads(cli("doctor", "--json", code=code, **settings))
    assert all(bool(finding["remedy"]) == (finding["state"] != "ok") for finding in found)
    return {one["subject"]: one for one in found if one["state"] != "ok"}


def test_counter_commands(cli, server, client):
    """The commands of `flask counter` work on the service's own counters."""
    where = {"REDIS_URL": server.url, "COUNTER_NAME": "home"}
    assert cli("hit", **where) == cli("get", **where) == "1\n"
    assert cli("hit", "orders", "--amount", "5", **where) == "5\n"
    assert cli("list", **where) == "home    1\norders  5\n"
    assert json.loads(cli("list", "--json", **where)) == {"home": 1, "orders": 5}
    assert cli("delete", "orders", **where) == "5\n"
    assert "; run flask-redis-counter list" in cli("get", "orders", code=1, **where)
    assert cli("watch", "--times", "2", "--every", "0.1", **where) == "home 1\nhome 1\n"
    assert json.loads(cli("watch", "home", "--json", "--times", "1", **where)) == {"home": 1}


def test_list_reads_pages(cli, server, client):
    """list prints all counters, also if they take several pages."""
    names = [f"n{number:04}" for number in range(2500)]
    with RedisCounter(server.url, timeout=10) as counter:
        for name in names:
            counter.set(name, 1)
    listed = json.loads(cli("list", "--json", REDIS_URL=server.url, COUNTER_TIMEOUT="10"))
    assert listed == dict.fromkeys(names, 1)


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "message"),
    [
        (["get"], {"REDIS_URL": nowhere()}, 1, "; run flask-redis-counter doctor"),
        (["get"], {"REDIS_URL": "nowhere"}, 2, "REDIS_URL: its value does not begin"),
        (["get", "a b"], {"REDIS_URL": nowhere()}, 2, "1 to 64 characters"),
        (["watch", "a b"], {"REDIS_URL": nowhere()}, 2, "1 to 64 characters"),
        (["watch"], {"REDIS_URL": nowhere()}, 1, "no connection to the store"),
        (["series", "--days", "0"], {"REDIS_URL": nowhere()}, 2, "use an integer from 1"),
    ],
)
def test_error_is_one_line(cli, arguments, settings, code, message):
    """An error is one line, and the exit code says whether options or the store are wrong."""
    printed = cli(*arguments, code=code, **settings)
    assert message in printed
    assert printed.startswith("Error: ")
    assert printed.count("\n") == 1


def test_help_fits_a_screen(cli):
    """--help is short, also that of each command."""
    assert cli("--help").count("\n") < 24
    for command in main.list_commands(None):
        assert cli(command, "--help").count("\n") < 40


def test_embedded_store_is_the_fallback(cli, tmp_path):
    """Without a Redis, commands use the embedded store, whether `serve` runs or not."""
    folder = {"COUNTER_DATA_DIR": str(tmp_path)}
    assert cli("hit", **folder) == "1\n"
    with EmbeddedValkey(tmp_path):
        assert cli("hit", **folder) == "2\n"
        assert "unix://" in cli("doctor", **folder)
    assert cli("get", **folder) == "2\n"


def test_doctor_without_problems(cli, start_server, tmp_path):
    """doctor reports no problem, and leaves nothing of its hit but its idempotency record."""
    store = start_server("--appendonly", "yes", "--appendfsync", "always")
    settings = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path / "spool")}
    printed = cli("doctor", REDIS_URL=store.url, COUNTER_TIMEOUT="10", **settings)
    assert "warning" not in printed
    assert "failure" not in printed
    for subject in ("store", "version", "clock", "memory", "persistence", "eviction", "hit"):
        assert re.search(rf"^ok +{subject} ", printed, re.M)
    with RedisCounter(store.url) as counter:
        assert counter.names() == []


def test_doctor_store_may_lose_hits(cli, start_server):
    """doctor reports persistence and eviction, and its remedies solve both."""
    options = ["--appendonly", "no", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"]
    store = start_server(*options)
    found = findings(cli, 1, REDIS_URL=store.url, COUNTER_TIMEOUT="10")
    assert found.keys() == {"persistence", "eviction", "journal"}
    assert "for 10 s" in found["journal"]["said"]
    assert "appendonly is off" in found["persistence"]["said"]
    remedies = " ".join(found[name]["remedy"] for name in ("persistence", "eviction"))
    assert "allkeys-lru" in found["eviction"]["said"]
    typed = re.findall(r"CONFIG SET (\S+) (\w+)", remedies)
    assert len(typed) == 3
    with redis.Redis.from_url(store.url) as client:
        for name, value in typed:
            client.config_set(name, value)
    assert findings(cli, 0, REDIS_URL=store.url, COUNTER_TIMEOUT="10") == {}


def test_doctor_store_is_full(cli, start_server):
    """doctor reports the full memory and the rejected hit."""
    store = start_server("--appendonly", "yes", "--appendfsync", "always")
    with redis.Redis.from_url(store.url) as client:
        client.config_set("maxmemory", "1")
    found = findings(cli, 1, REDIS_URL=store.url, COUNTER_TIMEOUT="10")
    assert found["hit"]["state"] == "failure"
    assert "maxmemory" in found["hit"]["remedy"]
    assert found["memory"]["state"] == "warning"


def test_doctor_store_is_a_replica(cli, start_server):
    """doctor reports a replica, which accepts no hits, and its primary."""
    primary = start_server()
    replica = start_server("--replicaof", f"127.0.0.1 {primary.port}")
    found = findings(cli, 1, REDIS_URL=replica.url, COUNTER_TIMEOUT="10")
    assert found["role"]["state"] == "failure"
    assert str(primary.port) in found["role"]["said"]
    assert found["hit"]["state"] == "failure"
    alone = {"REDIS_URL": replica.url, "COUNTER_DURABILITY": "replica"}
    with redis.Redis.from_url(replica.url) as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    found = findings(cli, 1, **alone)
    assert "connect a replica" in found["role"]["remedy"]


def test_doctor_replicas(cli, start_server, tmp_path):
    """doctor says what confirms hits, that replicas are missing, and that one does not confirm."""
    options = "--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"
    primary = start_server(*options)
    replica = start_server("--replicaof", f"127.0.0.1 {primary.port}")
    with redis.Redis.from_url(primary.url) as client:
        wait_for_replicas(client, 1)
    settings = {"REDIS_URL": primary.url, "COUNTER_TIMEOUT": "4"}
    printed = cli("doctor", COUNTER_DURABILITY="replica", **settings)
    assert re.search(r"^ok +role +a primary; replicas: 1", printed, re.M)
    assert re.search(
        r"^ok +journal +hits are kept until all replicas and the append-only", printed, re.M
    )
    found = findings(cli, 1, COUNTER_DURABILITY="replica:3", **settings)
    assert "COUNTER_DURABILITY=replica:3 needs 3" in found["role"]["said"]
    assert found["role"]["remedy"] == "connect 2 more, or use another COUNTER_DURABILITY"
    with RedisCounter(primary.url) as counter:
        assert counter.names() == [], "the test hits are deleted, although they were not confirmed"
    found = findings(cli, 1, COUNTER_JOURNAL_MAX="0", **settings)
    assert found.keys() == {"journal"}
    assert "COUNTER_JOURNAL_MAX" in found["journal"]["remedy"]
    replica.signal(signal.SIGSTOP)
    (tmp_path / "counters.csv").write_text("name,value\na,3\nb,4\n")
    told = cli("import", str(tmp_path / "counters.csv"), code=1, **settings)
    assert "not on a replica" in told
    assert "0 of 2 counters are done; run it again to continue" in told
    with RedisCounter(primary.url) as counter:
        assert counter.values(["a", "b"]) == {"a": 3, "b": 4}
    found = findings(cli, 1, **settings)
    assert found.keys() == {"confirmation"}
    assert found["confirmation"]["state"] == "warning"
    assert "not on a replica" in found["confirmation"]["said"]


def test_doctor_invalid_settings(cli, server, client, tmp_path):
    """doctor reports unknown settings with a suggestion, and invalid URLs and folders."""
    assert "is it COUNTER_NAME?" in cli("doctor", code=1, REDIS_URL=server.url, COUNTER_NAEM="x")
    assert findings(cli, 1, REDIS_URL="redis://localhost:x")["settings"]["state"] == "failure"
    assert findings(cli, 1, REDIS_URL=nowhere())["store"]["state"] == "failure"
    (tmp_path / "file").write_text("")
    spool = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path / "file")}
    assert findings(cli, 1, REDIS_URL=server.url, **spool)["spool"]["state"] == "failure"


def test_doctor_missing_rights(cli, server, client):
    """doctor reports the rights that a user lacks, and nothing that it could not check."""
    client.acl_setuser("mute", enabled=True, nopass=True, keys="*", commands=["+@all", "-info"])
    client.acl_setuser("reads", enabled=True, nopass=True, keys="*", commands=["+@read", "+ping"])
    place = server.url.removeprefix("redis://")
    try:
        found = findings(cli, 1, REDIS_URL=f"redis://mute:x@{place}", COUNTER_TIMEOUT="10")
        assert found.keys() == {"store", "information", "live", "confirmation"}
        found = findings(cli, 1, REDIS_URL=f"redis://reads:x@{place}", COUNTER_TIMEOUT="10")
        assert "ACL SETUSER reads ~counter:*" in found["hit"]["remedy"], found
        assert {"hits", "days", "names", "visitors"} <= found.keys()
        found = findings(cli, 1, REDIS_URL=f"redis://nobody:x@{place}", COUNTER_TIMEOUT="10")
        assert "REDIS_PASSWORD" in found["store"]["remedy"]
    finally:
        client.acl_deluser("mute", "reads")
    assert contents(client) == {} or KEY not in contents(client)


def test_doctor_clock_drift(cli, start_server, monkeypatch):
    """doctor reports that the clocks of the store and of this machine differ."""
    store = start_server("--appendonly", "yes", "--appendfsync", "always")
    monkeypatch.setattr("flask_redis_counter.doctor.server_checks.now", lambda: 1.0)
    found = findings(cli, 1, REDIS_URL=store.url, COUNTER_TIMEOUT="10")
    assert found.keys() == {"clock"}
    assert "ahead of" in found["clock"]["said"]


def in_a_terminal(*arguments, **environment):
    """Run a command in a terminal of 60 columns, and return its output."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, **dict.fromkeys(SETTINGS, ""), "COLUMNS": "60", "TERM": "xterm"}
    command = [*PROGRAM, *arguments]
    done = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=settings | environment)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert done.wait(10) == 0
    return shown.decode().replace("\r\n", "\n")


def test_series_draws_a_chart(server, client):
    """series draws bars up to the edge of a terminal, in ASCII if needed."""
    with RedisCounter(server.url, timeout=10) as counter:
        counter.hit("visits", 8)
    shown = in_a_terminal("series", "--days", "2", REDIS_URL=server.url)
    yesterday, today = shown.splitlines()
    assert yesterday.split()[1:] == ["0", "0"]
    assert today.endswith("█")
    assert len(today) == 60
    plain = in_a_terminal("series", "--days", "1", REDIS_URL=server.url, PYTHONIOENCODING="ascii")
    assert plain.rstrip().endswith("#")


def test_watch_redraws_in_a_terminal(server, client):
    """watch redraws its lines, with rates from the second reading on."""
    shown = in_a_terminal("watch", "--times", "2", "--every", "0.1", REDIS_URL=server.url)
    first, second = shown.split("\x1b[1F\x1b[J")
    assert first == "visits  0\n"
    assert second == "visits  0  +0.0/s\n"


def test_doctor_prints_no_colors_to_a_pipe(server, client):
    """doctor prints no escape sequences unless to a terminal (https://no-color.org)."""
    settings = {"REDIS_URL": nowhere()}
    command = [*PROGRAM, "doctor"]
    environment = {**os.environ, **dict.fromkeys(SETTINGS, ""), **settings}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert printed.returncode == 1
    assert "\x1b" not in printed.stdout


@pytest.mark.parametrize("command", ["list", "hit", "watch"])
def test_full_disk_is_one_line(server, client, command):
    """A write error of standard output is one line."""
    client.set("counter:{visits}", 1)
    client.zadd("counter:{}:names", {"visits": 0})
    environment = {**os.environ, **dict.fromkeys(SETTINGS, ""), "REDIS_URL": server.url}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*PROGRAM, command],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
        )
    assert (ended.returncode, ended.stderr) == (1, "Error: No space left on device\n")


@contextmanager
def watching(url, *options):
    """Run `watch` until the block ends."""
    environment = {**os.environ, **dict.fromkeys(SETTINGS, ""), "REDIS_URL": url}
    run = subprocess.Popen(
        [*PROGRAM, "watch", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed,
    )
    with run:
        try:
            assert run.stdout.readline() == "visits 0\n"
            yield run
        finally:
            run.kill()


def test_watch_ends_with_ctrl_c(server, client):
    """watch ends immediately and silently."""
    with watching(server.url, "--every", "3600") as run:
        run.send_signal(signal.SIGINT)
        assert run.wait(5) == 130
        assert run.stderr.read() == ""


def test_watch_continues_after_an_outage(own_server):
    """watch reports the outage, and later prints the values again."""
    with watching(own_server.url, "--every", "0.1", "--times", "1000") as run:
        own_server.kill()
        assert run.stderr.readline().startswith("Error: ")
        own_server.start()
        with RedisCounter(own_server.url, timeout=10) as counter:
            counter.set("visits", 7)
        wait_until(lambda: run.stdout.readline() == "visits 7\n", what="the new value")


def test_completion_of_commands_and_names(cli, server, client):
    """Names are completed from the store; without a store there are none, and no error."""
    for shell in ("bash", "zsh", "fish"):
        assert "_FLASK_REDIS_COUNTER_COMPLETE" in cli("completion", shell)
    with RedisCounter(server.url, timeout=10) as counter:
        for name in ("orders", "orders.paid", "other"):
            counter.set(name, 1)

    def completed(words, **settings):
        complete = {"_FLASK_REDIS_COUNTER_COMPLETE": "bash_complete", "COMP_WORDS": words}
        complete["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        name = "flask-redis-counter"
        result = CliRunner().invoke(main, [], prog_name=name, env=complete | settings)
        return [line.partition(",")[2] for line in result.output.split()]

    assert "doctor" in completed("flask-redis-counter do")
    words = "flask-redis-counter get orders"
    assert completed(words, REDIS_URL=server.url) == ["orders.paid"]
    assert completed(words, REDIS_URL=nowhere()) == []


def test_doctor_reports_spooled_hits(cli, server, client, tmp_path):
    """doctor reports the number of hits in the spool."""
    spool = Spool(tmp_path)
    settings = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": str(tmp_path)}
    printed = cli("doctor", REDIS_URL=server.url, COUNTER_TIMEOUT="10", **settings)
    assert f"{spool.pending_hits()} hits wait in" in " ".join(printed.split())


def test_doctor_checks_the_metrics_folder(cli, server, client, tmp_path):
    """doctor reports a metrics folder that a worker cannot use, with a remedy."""
    settings = {"REDIS_URL": server.url, "COUNTER_TIMEOUT": "10"}
    folder = tmp_path / "metrics"
    assert "worker processes" in cli("doctor", COUNTER_METRICS_DIR=str(folder), **settings)
    (tmp_path / "file").write_text("")
    found = findings(cli, 1, COUNTER_METRICS_DIR=str(tmp_path / "file"), **settings)
    assert found["metrics"]["state"] == "warning"
    assert "free some disk space" in found["metrics"]["remedy"]
