"""The Docker networks of a container: disconnect it, and connect it as before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from .docker import inspect, run_docker
from .errors import StackError

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

#: A network, and the options of ``docker network connect`` that restore names and addresses.
Attachment: TypeAlias = tuple[str, list[str]]


def find_attachments(service: str, container: str) -> list[Attachment]:
    """Return the networks that a container can be disconnected from.

    :raises StackError: the container has no network, or another one's or the machine's.
    """
    facts = inspect(container)
    mode, _, owner = facts["HostConfig"]["NetworkMode"].partition(":")
    if mode == "none":
        raise StackError(f"{service} cannot be isolated: it has no network (network_mode: none)")
    if mode == "host":
        raise StackError(
            f"{service} cannot be isolated: it has the machine's network (network_mode: host); "
            "put it on a network of the project"
        )
    if mode == "container":
        labels = inspect(owner)["Config"]["Labels"]
        other = labels.get("com.docker.compose.service", owner)
        raise StackError(
            f"{service} cannot be isolated alone: it has the network of {other} "
            f"(network_mode: service:{other}); isolate {other}, and {service} is isolated too"
        )
    networks: dict[str, Any] = facts["NetworkSettings"]["Networks"]
    if not networks:
        raise StackError(f"{service} is on no network: is it isolated already?")
    return [(name, network_options(settings)) for name, settings in networks.items()]


def disconnect(container: str, network: str) -> None:
    """Disconnect a container from a network."""
    run_docker("docker", "network", "disconnect", network, container)


def connect(container: str, attachment: Attachment) -> None:
    """Connect a container to a network, with the names and addresses that it had."""
    network, options = attachment
    run_docker("docker", "network", "connect", *options, network, container)


def network_options(settings: Mapping[str, Any]) -> list[str]:
    """Return the options that restore a container's aliases and fixed addresses on a network."""
    fixed = settings.get("IPAMConfig") or {}
    addresses = {"ip": fixed.get("IPv4Address"), "ip6": fixed.get("IPv6Address")}
    return [f"--alias={alias}" for alias in settings["Aliases"] or []] + [
        f"--{option}={address}" for option, address in addresses.items() if address
    ]
