"""The isolated services of a Compose project, and how to connect them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import networks
from .errors import StackError

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True


class Isolations:
    """Containers that were disconnected from their networks, and the networks of their clients.

    :param project: the name of the Compose project.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._attachments: dict[str, list[networks.Attachment]] = {}
        self._private: dict[str, list[str]] = {}  # members by network

    def isolate(
        self, service: str, containers: Sequence[str], clients: Mapping[str, Sequence[str]]
    ) -> None:
        """Disconnect a service's containers from all networks; some clients can still reach it.

        The service and its clients get a network of their own, with the names that they had.

        :param containers: the ids of the service's containers.
        :param clients: the ids of the clients' containers, by service; empty: no clients.
        :raises StackError: a container has no network, or another one's or the machine's, or it
            is isolated already.
        """
        if any(one in self._attachments for one in containers):
            raise StackError(f"{service} is isolated already")
        found = {one: networks.find_attachments(service, one) for one in containers}
        self._attachments |= found
        if clients:
            members = [*containers, *(one for each in clients.values() for one in each)]
            self._share_network(service, members)
        for container, attachments in found.items():
            for network, _ in attachments:
                networks.disconnect(container, network)

    def reconnect(self, service: str, containers: Sequence[str]) -> None:
        """Connect a service's containers to their networks, and remove that of its clients."""
        for container in containers:
            attachments = self._attachments.pop(container, [])
            connected = networks.find_networks(container) if attachments else {}
            for attachment in attachments:
                if attachment[0] not in connected:  # isolate() may have failed
                    networks.connect(container, attachment)
        private = networks.private_name(self._project, service)
        if private in self._private:
            for member in self._private[private]:
                networks.disconnect_if_present(member, private)
            networks.remove(private)
            del self._private[private]

    def _share_network(self, service: str, members: Sequence[str]) -> None:
        aliases = {one: networks.find_aliases(one) for one in members}
        name = networks.create_private(self._project, service)
        self._private[name] = []
        for member, options in aliases.items():
            networks.connect(member, (name, options))
            self._private[name].append(member)
