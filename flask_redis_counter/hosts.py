"""Host names: one rule for the ``Host`` header and for ``COUNTER_TRUSTED_HOSTS``.

A label may contain underscores, like names of Compose and Swarm services, and a name may end with a
dot (the DNS root). Browsers send an international name as punycode.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address

_LABEL = "[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HEADER = re.compile(r"(?:([^:\[\]]+?)\.?|\[([0-9a-f:.]+)\])(?::([1-9][0-9]{0,4})?)?")
# Characters that IDNA 2003 (Python) and IDNA 2008 (browsers) encode differently.
_AMBIGUOUS = re.compile("[\xdf\u03c2\u200c\u200d]")


@lru_cache(maxsize=256)
def is_allowed_host(header: str | None, allowed: tuple[str, ...] = ()) -> bool:
    """Return whether a ``Host`` header is well-formed and names an allowed host.

    A request without the header (HTTP/1.0) is well-formed.

    :param allowed: hosts in the form of :func:`normalize`; empty: any host.
    """
    if header is None:
        return not allowed
    found = _HEADER.fullmatch(header.lower())
    if found is None or int(found[3] or 1) > 65535:
        return False
    name = found[1] if found[2] is None else _canonical_ipv6(found[2])
    if name is None or (found[2] is None and not _is_name(name)):
        return False
    return not allowed or any(
        f".{name}".endswith(host) if host.startswith(".") else name == host for host in allowed
    )


def normalize(host: str) -> str:
    """Return an allowed host in the form that :func:`is_allowed_host` compares.

    :param host: a name or an address; ``.example.org`` is the name and all its subdomains.
    :raises ValueError: the host cannot occur in a well-formed header.
    """
    dot = "." if host.startswith(".") else ""
    name = host.removeprefix(dot).removesuffix(".").lower()
    if address := _canonical_ipv6(name.removeprefix("[").removesuffix("]")):
        return address
    if not name.isascii():
        if _AMBIGUOUS.search(name):
            raise ValueError("write it as punycode, xn--…")
        name = name.encode("idna").decode("ascii")
    if not _is_name(name):
        raise ValueError("is not a host name")
    return dot + name


def _is_name(name: str) -> bool:
    return len(name) <= 253 and _NAME.fullmatch(name) is not None


def _canonical_ipv6(text: str) -> str | None:
    try:
        return None if "%" in text else f"[{IPv6Address(text)}]"
    except ValueError:
        return None
