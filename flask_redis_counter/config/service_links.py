"""Service links: environment variables that Kubernetes and Docker set for other containers.

A Service or a linked container named ``redis`` sets ``REDIS_PORT=tcp://10.0.0.11:6379``, one
named ``counter`` sets ``COUNTER_PORT``, ``COUNTER_NAME`` and more. Some have the name of a
setting, but are not meant to set it.

Formats: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
and https://docs.docker.com/engine/network/links/#environment-variables
"""

from __future__ import annotations

import re
from typing import Any

#: Remedy of the hint about service links.
REMEDY = "set enableServiceLinks: false in the Pod's spec"

# A service link is recognised by its name, or by its value if the name may be a setting's.
_NAME = re.compile(
    r"[A-Z0-9_]+_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?|ENV_.+)"
)
_VALUES = {"_PORT": re.compile(r"(?:tcp|udp|sctp)://\S+:[0-9]+"), "_NAME": re.compile(r"/.+/.+")}


def is_service_link(name: str, value: Any) -> bool:
    """Return whether an environment variable is a service link, even if a setting has its name."""
    if not isinstance(value, str):
        return False
    value_format = _VALUES.get(name[-5:])
    if value_format is not None and value_format.fullmatch(value):
        return True
    return _NAME.fullmatch(name) is not None
