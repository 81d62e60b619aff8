"""ServerState: what INFO says about history, replicas and disk."""

from redis.exceptions import NoPermissionError

from flask_redis_counter.store.server_state import ServerState, parse_history, parse_state

SERVER = b"# Server\r\nrun_id:abc\r\n"
REPLICATION = (
    b"# Replication\r\nrole:master\r\nconnected_slaves:3\r\n"
    b"slave0:ip=10.0.0.2,port=6379,state=online,offset=90,lag=1\r\n"
    b"slave1:ip=10.0.0.3,port=6379,state=wait_bgsave,offset=0,lag=0\r\n"
    b"slave2:ip=10.0.0.4,port=6379,state=online,offset=100,lag=0,type=replica\r\n"
    b"slave_expires_tracked_keys:0\r\n"
    b"master_replid:def\r\nmaster_repl_offset:100\r\n"
)
PERSISTENCE = b"# Persistence\r\naof_enabled:1\r\naof_last_write_status:ok\r\n"
IDLE = PERSISTENCE + b"aof_pending_bio_fsync:0\r\naof_rewrite_in_progress:0\r\n"


def test_parse_state():
    """Replicas that have not received the data yet do not count."""
    found = parse_state([SERVER, REPLICATION, IDLE])
    assert found == ServerState("abc:def", 100, (90, 100), True, False)


def test_replica_that_connects_again_counts_once():
    """Its broken connection stays in the list for a while, with the offset of then."""
    again = REPLICATION + b"slave3:ip=10.0.0.4,port=6379,state=online,offset=70,lag=9\r\n"
    other = again + b"slave4:ip=10.0.0.4,port=6380,state=online,offset=80,lag=0\r\n"
    assert parse_state([SERVER, again, IDLE]).replica_offsets == (90, 70)
    assert parse_state([SERVER, other, IDLE]).replica_offsets == (90, 70, 80)


def test_history_of_a_server_that_was_never_a_replica():
    """Its replication id changes with its first replica, which is no other history."""
    never = {"run_id": "abc", "master_replid": "def", "master_replid2": "0" * 40}
    assert parse_history(never) == parse_history(never | {"master_replid": "123"}) == "abc"
    promoted = never | {"master_replid2": "def", "master_replid": "456"}
    assert parse_history(promoted) == "abc:456"
    assert parse_history({"run_id": "abc"}) == ""


def test_a_disk_that_is_not_idle():
    """A sync, a rewrite and a failed write are not idle."""
    for line in (
        b"aof_pending_bio_fsync:1\r\n",
        b"aof_rewrite_in_progress:1\r\n",
        b"aof_last_write_status:err\r\n",
    ):
        assert parse_state([SERVER, REPLICATION, IDLE + line]).is_syncing


def test_without_the_right_to_info():
    """An error reply leaves the history unknown."""
    denied = NoPermissionError("no permission")
    assert parse_state([denied, denied, denied]) == ServerState("")
    assert parse_state([SERVER, denied, IDLE]).history == ""
