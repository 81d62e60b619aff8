"""The Docker networks of containers: disconnect, connect as before, share a private one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from .command import command_error
from .docker import inspect, run_docker, run_docker_command
from .errors import StackError

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

_PROJECT = "com.docker.compose.project"

#: Label of the network that an isolated service shares with its clients.
_ISOLATED = "flask-redis-counter.isolated"

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


def private_name(project: str, service: str) -> str:
    """Return the name of the network that only an isolated service and its clients share."""
    return f"{project}_isolated-{service}"


def create_private(project: str, service: str) -> str:
    """Create the network of an isolated service and its clients, and return its name.

    It is internal, so the service's ports are not published on it. It has the labels of the
    project, so that what removes the project's networks removes it as well.
    """
    labels = [f"--label={_PROJECT}={project}", f"--label={_ISOLATED}={service}"]
    name = private_name(project, service)
    run_docker("docker", "network", "create", "--internal", *labels, name)
    return name


def remove(network: str) -> None:
    """Remove a network without containers."""
    run_docker("docker", "network", "rm", network)


def remove_private(project: str) -> None:
    """Remove the networks of isolated services that are left after their containers."""
    labels = [f"--filter=label={label}" for label in (f"{_PROJECT}={project}", _ISOLATED)]
    if left := run_docker("docker", "network", "ls", "--quiet", *labels).split():
        run_docker("docker", "network", "rm", *left)


def disconnect_if_present(container: str, network: str) -> None:
    """Disconnect a container from a network, unless the container was removed meanwhile."""
    command = ("docker", "network", "disconnect", "--force", network, container)
    result = run_docker_command(command)
    if result.exit_code != 0 and "No such container" not in result.errors:
        raise command_error(command, result)


def find_networks(container: str) -> dict[str, Any]:
    """Return the networks of a container, with its settings on each."""
    found: dict[str, Any] = inspect(container)["NetworkSettings"]["Networks"]
    return found


def find_aliases(container: str) -> list[str]:
    """Return the options that give a container the names that it has, on another network."""
    networks = find_networks(container).values()
    aliases = {alias for settings in networks for alias in settings["Aliases"] or []}
    return [f"--alias={alias}" for alias in sorted(aliases)]
