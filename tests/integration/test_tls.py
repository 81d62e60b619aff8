"""Failed TLS handshakes: the error names the cause and the remedy, as doctor does."""

import asyncio
import re
import shutil
from datetime import UTC, datetime

import pytest
import redis

from flask_redis_counter import AsyncRedisCounter, ConfigurationError, CounterError, RedisCounter
from flask_redis_counter.doctor.checks import run_checks
from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port

trustme = pytest.importorskip("trustme")


class TLSServer(Process):
    """A redis-server that listens with TLS only."""

    def __init__(self, folder, name, *options):
        self.port = free_port()
        command = ["redis-server", "--port", "0", "--tls-port", str(self.port), "--save", ""]
        command += ["--dir", str(folder), "--tls-ca-cert-file", "ca.pem"]
        command += ["--tls-cert-file", f"{name}.pem", "--tls-key-file", f"{name}.key", *options]
        super().__init__(command, log=folder / f"{name}.log")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with certificates."""
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    past = datetime(2020, 1, 1, tzinfo=UTC)
    certificates = {
        "server": ca.issue_cert("localhost", "127.0.0.1"),
        "client": ca.issue_cert("client@example.org"),
        "expired": ca.issue_cert("localhost", not_after=past),
        "elsewhere": ca.issue_cert("elsewhere.example"),
    }
    for name, certificate in certificates.items():
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    (folder / "text.pem").write_text("no certificate")
    return folder


@pytest.fixture(scope="module")
def ports(folder):
    """The ports of TLS servers, by their configuration."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine")
    no_client = "--tls-auth-clients", "no"
    servers = {
        "server": TLSServer(folder, "server", *no_client),
        "mutual": TLSServer(folder, "server"),
        "mutual12": TLSServer(folder, "server", "--tls-protocols", "TLSv1.2"),
        "expired": TLSServer(folder, "expired", *no_client),
        "elsewhere": TLSServer(folder, "elsewhere", *no_client),
    }
    for server in servers.values():
        server.start()
    ready = {
        "ssl": True,
        "ssl_ca_certs": folder / "ca.pem",
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
        "ssl_certfile": folder / "client.pem",
        "ssl_keyfile": folder / "client.key",
    }
    for server in servers.values():
        with redis.Redis(port=server.port, **ready) as client:
            wait_until(client.ping, what="a TLS server")
    yield {name: server.port for name, server in servers.items()}
    for server in servers.values():
        server.kill()


CLIENT = "&ssl_certfile={folder}/client.pem&ssl_keyfile={folder}/client.key"
FAULTS = {
    "another CA": ("server", "?ssl_ca_certs={folder}/other.pem", r"not from a CA.*ssl_ca_certs"),
    "no CA": ("server", "", r"not from a CA that is trusted.*ssl_ca_certs"),
    "no certificate": ("server", "?ssl_ca_certs={folder}/text.pem", r"no certificate.*PEM"),
    "no client": ("mutual", "?ssl_ca_certs={folder}/ca.pem", r"client certificate.*ssl_certfile"),
    "no client, TLS 1.2": (
        "mutual12",
        "?ssl_ca_certs={folder}/ca.pem",
        r"client certificate.*ssl_certfile",
    ),
    "another key": (
        "mutual",
        "?ssl_ca_certs={folder}/ca.pem&ssl_certfile={folder}/client.pem"
        "&ssl_keyfile={folder}/server.key",
        r"ssl_keyfile is not the key of ssl_certfile",
    ),
    "expired": ("expired", "?ssl_ca_certs={folder}/ca.pem", r"has expired.*renew"),
    "host name": ("elsewhere", "?ssl_ca_certs={folder}/ca.pem", r"another host name.*connect by"),
}


def errors_of(url):
    """Return the errors of a hit, of an awaited one, and of doctor."""
    with RedisCounter(url, timeout=2) as counter, pytest.raises(CounterError) as caught:
        counter.hit("visits")
    errors = [caught.value]

    async def count():
        async with AsyncRedisCounter(url, timeout=2) as awaited:
            await awaited.hit("visits")

    with pytest.raises(CounterError) as caught:
        asyncio.run(count())
    errors.append(caught.value)
    assert [error.outcome for error in errors] == ["not_counted"] * 2
    found = run_checks({"REDIS_URL": url, "COUNTER_TIMEOUT": "2"})
    [failure] = [finding for finding in found if finding.status == "failure"]
    return [*map(str, errors), f"{failure.message}: {failure.remedy}"]


@pytest.mark.parametrize("fault", FAULTS)
def test_failed_handshake_names_cause_and_remedy(ports, folder, fault):
    """The hit is not counted, and the error says why and what to do."""
    server, options, expected = FAULTS[fault]
    url = f"rediss://localhost:{ports[server]}/0{options.format(folder=folder)}"
    for message in errors_of(url):
        assert re.search(expected, message), message


def test_tls_port_without_tls_is_named(ports):
    """A connection without TLS to a TLS port is an error that suggests rediss://."""
    for message in errors_of(f"redis://localhost:{ports['server']}/0"):
        assert re.search("closed the connection.*if the port speaks TLS, use rediss://", message), (
            message
        )


def test_plain_port_with_tls_is_named(server):
    """A TLS connection to a port without TLS is an error that suggests redis://."""
    for message in errors_of(f"rediss://localhost:{server.port}/0"):
        assert re.search("TLS.*use redis://|handshake", message), message


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_hits_count_with_client_certificates(ports, folder, scheme):
    """Hits count with mutual TLS, and a loop that ends leaves no socket open."""
    options = f"?ssl_ca_certs={folder}/ca.pem" + CLIENT.format(folder=folder)
    url = f"{scheme}://localhost:{ports['mutual']}/0{options}"
    with RedisCounter(url, timeout=10) as counter:
        counter.reset("visits")
        assert counter.hit("visits").value == 1
    counter = AsyncRedisCounter(url, timeout=10)
    assert [asyncio.run(counter.hit("visits")).value for _ in range(3)] == [2, 3, 4]


def test_ssl_cert_reqs_none_accepts_any_certificate(ports):
    """`ssl_cert_reqs=none` accepts a certificate for another host, from an unknown CA."""
    url = f"rediss://localhost:{ports['elsewhere']}/0?ssl_cert_reqs=none"
    with RedisCounter(url, timeout=10) as counter:
        counter.reset("visits")
        assert counter.hit("visits").value == 1
    counter = AsyncRedisCounter(url, timeout=10)
    assert asyncio.run(counter.hit("visits")).value == 2


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_missing_certificate_file_is_named(option):
    """A certificate file that does not exist is named before connecting."""
    with pytest.raises(ConfigurationError, match=f"{option} names .*/nope.pem: No such file"):
        RedisCounter(f"rediss://localhost/0?{option}=/nope.pem")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rediss://h/0?ssl_cert_reqs=CERT_NONE", "write none for CERT_NONE"),
        ("rediss://h/0?ssl_cert_reqs=None", "none, optional, required"),
        ("redis://h/0?ssl_ca_certs=/ca.pem", "ssl_ca_certs is for TLS: write rediss://"),
        ("redis://:pa#ss@h/0", "write %23"),
        ("redis://:pa/ss@h/0", "write %2F"),
        ("redis://:12?ss@h/0", "write %3F"),
        ("redis://:pa[ss@h/0", "write .* as %5B"),
        ("redis://h/0?no_such_option=1", "no option no_such_option"),
        ("http://h/0", "valkey://"),
    ],
)
def test_invalid_url_is_explained_without_the_password(url, expected):
    """The error says what to write, and does not contain the password."""
    with pytest.raises(ConfigurationError, match=expected) as caught:
        RedisCounter(url)
    assert not re.search("pa|ss@", str(caught.value).replace("password", ""))


def test_wrong_password_is_explained(own_server):
    """The error contains the server's message, and says how to write a percent sign."""
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("requirepass", "100%41")
    for message in errors_of(f"redis://:100%41@127.0.0.1:{own_server.port}/0"):
        assert re.search("password", message), message
    with RedisCounter(f"valkey://:100%2541@127.0.0.1:{own_server.port}/0") as counter:
        assert counter.hit("visits").value == 1


def check_wrong_ca_is_named(url):
    """Check the error of a hit on a store whose certificate another CA has signed."""
    with (
        RedisCounter(url, timeout=2) as counter,
        pytest.raises(CounterError, match="certificate is not from a CA that is trusted"),
    ):
        counter.hit("visits")


def test_sentinel_with_tls(folder, ports, tmp_path):
    """rediss+sentinel:// is for TLS to the Sentinels and to the master; a wrong CA is named."""
    port = free_port()
    lines = [
        "port 0",
        f"tls-port {port}",
        "tls-replication yes",
        "tls-auth-clients no",
        f"tls-ca-cert-file {folder}/ca.pem",
        f"tls-cert-file {folder}/server.pem",
        f"tls-key-file {folder}/server.key",
        f"dir {tmp_path}",
        f"sentinel monitor counters 127.0.0.1 {ports['server']} 1",
    ]
    (tmp_path / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = ["redis-server", str(tmp_path / "sentinel.conf"), "--sentinel"]
    sentinel = Process(command, log=tmp_path / "sentinel.log")
    sentinel.start()
    try:
        url = f"rediss+sentinel://localhost:{port}/counters?ssl_ca_certs={folder}/"
        with RedisCounter(f"{url}ca.pem", prefix="sentinel:", timeout=10) as counter:
            assert wait_until(lambda: counter.value("visits", None) is None, what="the Sentinel")
            assert [counter.hit("visits").value for _ in range(2)] == [1, 2]

        async def count():
            async with AsyncRedisCounter(f"{url}ca.pem", prefix="sentinel:", timeout=10) as counter:
                return (await counter.hit("visits")).value

        assert asyncio.run(count()) == 3
        check_wrong_ca_is_named(f"{url}other.pem")
    finally:
        sentinel.kill()


def test_cluster_with_tls(folder, tmp_path):
    """rediss+cluster:// is for TLS to the nodes; a wrong CA is named."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine")
    options = ["--tls-auth-clients", "no", "--cluster-enabled", "yes", "--tls-cluster", "yes"]
    options += ["--cluster-config-file", str(tmp_path / "nodes.conf")]
    server = TLSServer(folder, "server", *options, "--cluster-port", str(free_port()))
    server.start()
    try:
        ssl = {"ssl": True, "ssl_ca_certs": folder / "ca.pem"}
        with redis.Redis(port=server.port, **ssl) as client:
            wait_until(client.ping, what="the node")
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        url = f"rediss+cluster://localhost:{server.port}?ssl_ca_certs={folder}/"

        async def count():
            async with AsyncRedisCounter(f"{url}ca.pem", timeout=10) as counter:
                return (await counter.hit("visits")).value

        with RedisCounter(f"{url}ca.pem", timeout=10) as counter:
            wait_until(lambda: counter.value("visits", None) is None, what="the cluster")
            assert [counter.hit("visits").value for _ in range(2)] == [1, 2]
            assert counter.names() == ["visits"]
        assert asyncio.run(count()) == 3
        check_wrong_ca_is_named(f"{url}other.pem")
    finally:
        server.kill()
