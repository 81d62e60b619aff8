"""The server's certificate: errors, safe defaults, and renewal."""

import logging
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from flask_redis_counter.errors import ConfigurationError
from flask_redis_counter.web.server.tls import TLSCertificate

AUTHORITY = trustme.CA()
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


def issue(folder, **options):
    """Write a new certificate and key for localhost into a folder; return their paths."""
    folder.mkdir(exist_ok=True)
    issued = AUTHORITY.issue_cert("localhost", **options)
    cert, key = folder / "tls.crt", folder / "tls.key"
    cert.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return cert, key


def client_context():
    """Return a context that trusts the authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class Connection:
    """A TLS connection in memory."""

    def __init__(self, server, client=None, host="localhost", session=None):
        client = client or client_context()
        inbox, outbox = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(inbox, outbox, server_hostname=host, session=session)
        self.server = server.wrap_bio(outbox, inbox, server_side=True)
        done = [False, False]
        while not all(done):
            for number, end in enumerate((self.client, self.server)):
                with suppress(ssl.SSLWantReadError):
                    done[number] = done[number] or end.do_handshake() is None

    @property
    def serial(self):
        """The serial number of the server's certificate."""
        return self.client.getpeercert()["serialNumber"]

    def send(self, text):
        """Send a text to the client, and return what arrives."""
        self.server.write(text)
        return self.client.read()


def serial(path):
    """Return the serial number of a certificate in a file."""
    return ssl._ssl._test_decode_cert(str(path))["serialNumber"]


@pytest.fixture
def pair(tmp_path):
    """Paths of a certificate and its key."""
    return issue(tmp_path / "pair")


@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_handshake(tmp_path, key_type):
    """A client that trusts the authority connects by TLS 1.3 and agrees on HTTP/1.1."""
    cert, key = issue(tmp_path / "pair", key_type=key_type)
    client = client_context()
    client.set_alpn_protocols(["h2", "http/1.1"])
    connection = Connection(TLSCertificate(cert, key).context, client)
    assert connection.client.version() == "TLSv1.3"
    assert connection.client.selected_alpn_protocol() == "http/1.1"
    assert connection.serial == serial(cert)


def test_client_without_a_common_protocol(pair):
    """A client that offers only HTTP/2 gets none of its protocols."""
    client = client_context()
    client.set_alpn_protocols(["h2"])
    connection = Connection(TLSCertificate(*pair).context, client)
    assert connection.client.selected_alpn_protocol() is None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_versions_are_rejected(pair):
    """TLS 1.2 is the minimum."""
    context = TLSCertificate(*pair).context
    client = client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert Connection(context, client).client.version() == "TLSv1.2"
    client.minimum_version = ssl.TLSVersion.TLSv1_1
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        Connection(context, client)


@pytest.mark.parametrize("kind", ["replaced", "rewritten", "file links", "folder link"])
def test_renewal(tmp_path, kind, caplog):
    """New connections get the renewed certificate, whatever replaces it; open ones stay open."""
    caplog.set_level(logging.INFO, "flask_redis_counter")
    before, after = issue(tmp_path / "before"), issue(tmp_path / "after")
    paths = before
    if kind == "file links":  # as certbot does
        paths = (tmp_path / "cert.pem", tmp_path / "key.pem")
        for path, target in zip(paths, before, strict=True):
            path.symlink_to(target)
    elif kind == "folder link":  # as Kubernetes does for a secret
        (tmp_path / "data").symlink_to("before")
        paths = (tmp_path / "data" / "tls.crt", tmp_path / "data" / "tls.key")
    certificate = TLSCertificate(*paths)
    context, old, new = certificate.context, serial(before[0]), serial(after[0])
    opened = Connection(context)
    assert opened.serial == old
    assert not certificate.reload_if_changed()

    for path, source in zip(paths, after, strict=True):
        if kind == "rewritten":
            path.write_bytes(source.read_bytes())
        elif kind != "folder link":
            link = tmp_path / "link"
            link.symlink_to(source)
            link.replace(path)
    if kind == "folder link":
        (tmp_path / "next").symlink_to("after")
        (tmp_path / "next").replace(tmp_path / "data")

    assert Connection(context).serial == old
    assert certificate.reload_if_changed()
    assert not certificate.reload_if_changed()
    assert certificate.context is context
    assert Connection(context).serial == new
    assert opened.send(b"still there") == b"still there"
    assert caplog.messages == ["the certificate was renewed"]


@pytest.mark.parametrize("host", ["localhost", None])
def test_renewal_with_and_without_sni(pair, host):
    """A renewal reaches clients that send no host name (SNI) as well."""
    certificate = TLSCertificate(*pair)
    issue(pair[0].parent)
    assert certificate.reload_if_changed()
    client = client_context()
    client.check_hostname = False
    assert Connection(certificate.context, client, host).serial == serial(pair[0])


def test_sessions_survive_a_renewal(pair):
    """Clients resume their sessions after a renewal."""
    certificate, client = TLSCertificate(*pair), client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    session = Connection(certificate.context, client).client.session
    issue(pair[0].parent)
    assert certificate.reload_if_changed()
    assert Connection(certificate.context, client, session=session).client.session_reused


@pytest.mark.parametrize("damage", ["other key", "cut off", "missing", "empty"])
def test_broken_renewal(pair, damage, caplog):
    """A pair that cannot be used is logged once; the old one stays until there is a new one."""
    cert, key = pair
    certificate, old = TLSCertificate(cert, key), serial(cert)
    if damage == "other key":
        content = AUTHORITY.issue_cert("localhost").private_key_pem.bytes()
        key.write_bytes(content)
    elif damage == "cut off":
        cert.write_bytes(cert.read_bytes()[:200])
    elif damage == "missing":
        cert.unlink()
    else:
        key.write_bytes(b"")
    for _ in range(3):
        assert not certificate.reload_if_changed()
        assert Connection(certificate.context).serial == old
    assert len(caplog.messages) == 1
    assert "the previous one stays in use: --tls-" in caplog.text
    assert "PRIVATE KEY" not in caplog.text
    issue(cert.parent)
    assert certificate.reload_if_changed()
    assert Connection(certificate.context).serial == serial(cert)


def test_handshakes_during_renewals(pair):
    """No handshake fails while certificates are renewed: none gets one with another one's key."""
    certificate = TLSCertificate(*pair)
    pairs = [issue(pair[0].parent / str(number)) for number in range(2)]
    stopping, failures = threading.Event(), []

    def connect():
        while not stopping.is_set():
            try:
                Connection(certificate.context)
            except ssl.SSLError as error:
                failures.append(error)

    threads = [threading.Thread(target=connect) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(100):
        for path, source in zip(pair, pairs[number % 2], strict=True):
            link = Path(f"{path}.new")
            link.symlink_to(source)
            link.replace(path)
        assert certificate.reload_if_changed()
    stopping.set()
    for thread in threads:
        thread.join()
    assert failures == []


def rewrite(path, change):
    """Write what a function returns for the content of a file."""
    path.write_bytes(change(path.read_bytes()))


def encrypt(content):
    """Encrypt a private key."""
    key = serialization.load_pem_private_key(content, None)
    return key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"password"))


def rsa_key(_):
    """Return a new RSA key."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(PEM, PKCS8, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (0, None, "--tls-cert: '{}': No such file or directory"),
        (1, None, "--tls-key: '{}': No such file or directory"),
        (0, lambda _: b"", "--tls-cert: '{}' is not a certificate in PEM format"),
        (0, lambda old: old[:200], "--tls-cert: '{}' is not a certificate in PEM format"),
        (0, encrypt, "--tls-cert: '{}' is not a certificate in PEM format"),
        (1, lambda _: b"secret", "--tls-key: '{}' is not a private key in PEM format"),
        (1, lambda old: old[:100], "--tls-key: '{}' is not a private key in PEM format"),
        (1, encrypt, "--tls-key: '{}' is encrypted; store it decrypted, "),
        (1, rsa_key, "--tls-key: '{}' is not the key of the certificate"),
        (1, lambda _: AUTHORITY.issue_cert("a").private_key_pem.bytes(),
         "--tls-key: '{}' is not the key of the certificate"),
    ],
)  # fmt: skip
def test_unusable_files(pair, file, change, said):
    """The error is one line that names the option and the file, and not its content."""
    if change is None:
        pair[file].unlink()
    elif change is encrypt and file == 0:
        pair[0].write_bytes(encrypt(pair[1].read_bytes()))
    else:
        rewrite(pair[file], change)
    with pytest.raises(ConfigurationError) as caught:
        TLSCertificate(*pair)
    error = str(caught.value)
    assert error.startswith(said.format(pair[file]))
    assert "\n" not in error
    assert "secret" not in error


def test_weak_key(tmp_path):
    """A key that is too short to be secure is one clear line."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  # too short on purpose
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1))
    cert_file, key_file = tmp_path / "tls.crt", tmp_path / "tls.key"
    cert_file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(PEM))
    key_file.write_bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    with pytest.raises(ConfigurationError, match=r"cannot be used .*: ee key too small$"):
        TLSCertificate(cert_file, key_file)


def test_folder_in_place_of_a_file(tmp_path, pair):
    """A folder is one clear line."""
    with pytest.raises(ConfigurationError, match=r"--tls-cert: .*: Is a directory"):
        TLSCertificate(tmp_path, pair[1])
