"""Causes of failed connections to the store, each with its remedy."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

# OpenSSL's X509_V_ERR_* codes: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_CERTIFICATES = {
    9: ("is not valid yet", "set the clocks of both machines"),
    10: ("has expired", "renew it"),
    62: ("is for another host name", "connect by a name in the certificate"),
    64: ("is for another address", "connect by a name or an address in the certificate"),
}
_UNTRUSTED = ("is not from a CA that is trusted", "set ssl_ca_certs to the file of its CA")

# By a word in OpenSSL's reason. The server sends an alert.
_REASONS = {
    "CERTIFICATE_REQUIRED": (
        "the server wants a client certificate",
        "set ssl_certfile and ssl_keyfile to its files",
    ),
    "ALERT_HANDSHAKE_FAILURE": (
        "the server ended the TLS handshake",
        "if it wants a client certificate, set ssl_certfile and ssl_keyfile",
    ),
    "PROTOCOL_VERSION": ("client and server have no TLS version in common", "see ssl_min_version"),
    "ALERT": (
        "the server does not accept the client certificate",
        "set ssl_certfile and ssl_keyfile to one that the server trusts",
    ),
    "KEY_VALUES_MISMATCH": (
        "ssl_keyfile is not the key of ssl_certfile",
        "set both to files that belong together",
    ),
    "NO_CERTIFICATE_OR_CRL_FOUND": (
        "ssl_ca_certs holds no certificate",
        "set it to a file in PEM format",
    ),
    "PEM": ("a file of ssl_certfile or ssl_keyfile is not in PEM format", "convert it"),
    "WRONG_VERSION_NUMBER": ("the port does not speak TLS", "use redis://, or its TLS port"),
    "RECORD_LAYER": ("the port does not speak TLS", "use redis://, or its TLS port"),
}

_ENDED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, ssl.SSLEOFError, EOFError)
_CLOSED = "Connection closed by server"


class NoMasterError(RedisError):
    """No Sentinel, or no node of a cluster, names a master that can be used.

    :ivar remedy: the action to take.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def find_cause(error: BaseException, *, secure: bool) -> tuple[str, str]:
    """Return why connecting failed, and what to do about it, or ``""`` if that is unknown.

    :param secure: whether TLS was used.
    """
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            problem, remedy = _CERTIFICATES.get(link.verify_code, _UNTRUSTED)
            return f"the server's certificate {problem} ({link.verify_message})", remedy
        if isinstance(link, ssl.SSLError):
            for word, found in _REASONS.items():
                if word in (link.reason or ""):
                    return found
        if isinstance(link, (*_ENDED, InvalidResponse)) or _CLOSED in str(link):
            if secure:
                remedy = "if it wants a client certificate, set ssl_certfile and ssl_keyfile"
                return "the server ended the TLS handshake", f"{remedy}; otherwise read its log"
            cause = "the server closed the connection, or does not speak Redis's protocol"
            return cause, "if the port speaks TLS, use rediss://"
        if isinstance(link, TimeoutError | RedisTimeoutError):
            return "nothing answers", "if the port does not speak TLS, use redis://" * secure
    return str(error).rstrip(".") or "nothing answers", ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the chain of causes, the root cause first: redis-py's own errors are less specific.

    A chain may be long, and lead back to one of its errors, if an error is raised several times.
    """
    links: dict[int, BaseException] = {}
    while error is not None and id(error) not in links:
        links[id(error)] = error
        error = error.__cause__ or error.__context__
    yield from reversed(links.values())
