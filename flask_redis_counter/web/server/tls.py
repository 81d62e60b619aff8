"""TLS of the server: a certificate and its key, reloaded when their files are renewed."""

from __future__ import annotations

import logging
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ...errors import ConfigurationError

#: Protocol that clients and server agree on (ALPN).
ALPN = "http/1.1"

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

# Device, inode, size, and times of modification and change of each file; None if one is missing.
_Signature: TypeAlias = tuple[tuple[int, ...], ...] | None

_DECRYPT = "store it decrypted, readable by the server's user only: openssl pkey -in KEY -out NEW"

# Problems of the key, by OpenSSL's reason; the second one means a key of another algorithm.
_PROBLEMS = {
    "KEY_VALUES_MISMATCH": "is not the key of the certificate",
    "NO_CERTIFICATE_ASSIGNED": "is not the key of the certificate",
}

_log = logging.getLogger(__name__)


class TLSCertificate:
    """A certificate chain and its private key, both as PEM files.

    A renewal reaches new connections; open ones keep their certificate. It may replace the files,
    the symlinks to them, or a symlink to their folder.

    :param cert: the certificate, followed by its intermediate certificates.
    :param key: the private key, not encrypted.
    :ivar context: the context of the server. It is never replaced, so that it can be given to an
        event loop once.
    :raises ConfigurationError: a file cannot be read, or the two are not a pair.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert = cert
        self._key = key
        self._signature = self._sign()
        self._current = self.context = _load(cert, key)
        # A certificate and key that are loaded into a context in use are for a moment not a pair.
        # The callback runs after the ClientHello, also if it names no host.
        self.context.sni_callback = self._choose_context

    def reload_if_changed(self) -> bool:
        """Load the files if they changed, for new connections; takes microseconds if not.

        A pair that cannot be used is logged once, and the previous one stays in use.

        :returns: whether new connections get another certificate.
        """
        # Before the files are read: a later change is then noticed by the next call.
        signature = self._sign()
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            self._current = _load(self._cert, self._key)
        except (ConfigurationError, OSError) as error:  # OSError: removed in this moment
            _log.error("the certificate was not renewed, the previous one stays in use: %s", error)
            return False
        _log.info("the certificate was renewed")
        return True

    def _choose_context(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _: str | None, __: ssl.SSLContext
    ) -> None:
        connection.context = self._current

    def _sign(self) -> _Signature:
        try:
            found = [path.stat() for path in (self._cert, self._key)]
        except OSError:
            return None
        return tuple(
            (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found
        )


def silence_malformed_names() -> None:
    """Let Python print nothing about a ClientHello whose host name is not ASCII.

    Its handshake fails in any case; with a callback for names, Python also prints a traceback, with
    the bytes of the client.
    """
    print_unraisable = sys.unraisablehook

    def hook(unraisable: UnraisableHookArgs) -> None:
        # Newer versions of Python say in the message what they pass as the object until then.
        is_name = isinstance(unraisable.object, bytes) or "servername" in (unraisable.err_msg or "")
        if not (is_name and isinstance(unraisable.exc_value, UnicodeDecodeError)):
            print_unraisable(unraisable)

    sys.unraisablehook = hook


def _load(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a new context with this pair."""
    for option, path in (("--tls-cert", cert), ("--tls-key", key)):
        try:
            path.open("rb").close()  # OpenSSL's error does not name the file
        except OSError as error:
            raise ConfigurationError(option, f"{str(path)!r}: {error.strerror}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert)
    except ssl.SSLError as error:
        raise ConfigurationError(
            "--tls-cert", f"{str(cert)!r} is not a certificate in PEM format"
        ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])

    def reject_encrypted_key() -> str:  # without it OpenSSL asks on the terminal
        raise ConfigurationError("--tls-key", f"{str(key)!r} is encrypted; {_DECRYPT}")

    try:
        context.load_cert_chain(cert, key, password=reject_encrypted_key)
    except ssl.SSLError as error:
        problem = _PROBLEMS.get(error.reason or "")
        if problem is None:
            problem = (
                f"cannot be used with its certificate: {error.reason.replace('_', ' ').lower()}"
                if error.reason
                else "is not a private key in PEM format"
            )
        raise ConfigurationError("--tls-key", f"{str(key)!r} {problem}") from error
    return context
