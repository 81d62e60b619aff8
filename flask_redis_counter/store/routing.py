"""Commands for a cluster: which node each is for, and under which keys.

On a cluster, a script may only use keys of one hash slot. So the keys that all counters share are
replaced in the scripts' arguments by keys of the counter's own slot (:func:`.local_key`). The names
of all counters are listed under the shared key as well, by :mod:`.listing`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from redis.exceptions import ClusterDownError, MovedError, TryAgainError

from ..errors import OutcomeUnknownError, StoreError, StoreRejectedError, StoreUnavailableError
from .backoff import Backoff
from .cluster import Cluster
from .connections import Command
from .keys import is_shared, local_key
from .server_state import merge_sections
from .url import Address

#: Rounds in which commands are sent that were redirected, or whose slot is being moved: two seconds
#: with their delays, if the deadline is not before.
MAX_ROUNDS = 40

#: Delay before a command is repeated whose slot is being moved: a key of it was on the way.
BACKOFF = Backoff(0.005, 0.05)

_SCRIPTS = ("EVALSHA", "EVAL")

#: Commands without a key that belong to others on the same connection, and those of a server. The
#: rest have a key as their first argument.
_ATTACHED = frozenset(("WAIT", "WAITAOF", "SCRIPT LOAD"))
# Sections of INFO that identify one server.
_OF_ONE_SERVER = ("server", "replication")
_KEYLESS = _ATTACHED | frozenset(
    (
        "PING",
        "INFO",
        "CONFIG GET",
        "TIME",
        "ASKING",
        "SCAN",
        "DBSIZE",
        "CLUSTER INFO",
        "CLUSTER SLOTS",
    )
)


def find_key(command: Command) -> str | bytes | None:
    """Return the key that decides which node gets a command; None if any may."""
    name = str(command[0])
    if name in _SCRIPTS:
        return str(command[3]) if command[2] else None
    key = None if name in _KEYLESS else command[1]
    return key if key is None or isinstance(key, bytes) else str(key)


def localize(command: Command) -> Command:
    """Return a command whose keys have one hash slot.

    :param command: a script's keys begin with that of a counter, or are all shared.
    """
    if command[0] not in _SCRIPTS or not command[2]:
        return command
    end = 3 + int(command[2])
    counter, *others = map(str, command[3:end])
    if is_shared(counter):
        return command
    return (*command[:4], *(local_key(key, counter) for key in others), *command[end:])


@dataclass(slots=True)
class Route:
    """Commands for one node.

    :ivar address: address of the node.
    :ivar asking: whether the slots are being moved to it.
    :ivar places: the commands' places in the list that was given.
    :ivar commands: the commands.
    """

    address: Address
    asking: bool
    places: list[int] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)


#: Yields routes, and the seconds to wait before they are taken; gets the result of each, its
#: replies or the error; returns the replies in the order of the commands.
Spread: TypeAlias = Generator[tuple[list[Route], float], list[list[Any] | StoreError], list[Any]]


def spread(cluster: Cluster, commands: Sequence[Command], near: str | None) -> Spread:
    """Send each command to the node of its key, and follow redirections.

    Confirmations (``WAIT``), scripts to load and questions who the server is go to the nodes that
    get other commands; the rest without a key to the node of ``near``, or to all masters.

    :raises StoreUnavailableError: nothing was executed.
    :raises OutcomeUnknownError: a node did not answer; perhaps some commands were executed.
    """
    commands = [localize(command) for command in commands]
    replies: list[Any] = [None] * len(commands)
    # Replies of several nodes to a command without a key.
    merged: dict[int, list[Any]] = {}
    # Nodes that commands are to be sent to after ASKING, in the next round only.
    asking: dict[int, Address] = {}
    waiting = list(range(len(commands)))
    executed = False
    delay = 0.0
    for attempt in range(MAX_ROUNDS):
        try:
            routes = _plan(cluster, commands, waiting, near, asking)
        except StoreUnavailableError as error:
            raise _explain(error, executed) from error.__cause__
        results = yield routes, delay
        asking, waiting = {}, []
        failures = [result for result in results if isinstance(result, StoreError)]
        for route, result in zip(routes, results, strict=True):
            if isinstance(result, StoreError):
                continue
            redirected = 0
            keyless: dict[int, Any] = {}
            for place, reply in zip(route.places, result, strict=True):
                key = find_key(commands[place])
                if key is None:
                    keyless[place] = reply
                    continue
                target = cluster.note_reply(key, reply, route.address)
                if target is not None or _is_moving(reply):
                    waiting.append(place)
                    redirected += 1
                    if target is not None and not _is_moved(reply):
                        asking[place] = target
                else:
                    executed = True
                replies[place] = reply
            confirms_nothing = redirected and redirected + len(keyless) == len(route.places)
            for place, reply in keyless.items():
                if not (confirms_nothing and _is_attached(commands[place])):
                    merged.setdefault(place, []).append(reply)
                replies[place] = reply
        if failures:
            cluster.refresh()
            raise _explain(failures[0], executed) from failures[0].__cause__
        if not waiting:
            break
        waiting += [place for place, it in enumerate(commands) if _is_attached(it)]
        delay = BACKOFF.delay(attempt + 1)
    for place, several in merged.items():
        replies[place] = _merge(str(commands[place][0]), several)
    return replies


def _explain(error: StoreError, executed: bool) -> StoreError:
    """Return an error of one node as that of all commands."""
    if executed and not isinstance(error, OutcomeUnknownError):
        return OutcomeUnknownError(f"some nodes have answered; then: {error}")
    return error


def _is_moving(reply: Any) -> bool:
    error = reply.__cause__ if isinstance(reply, StoreRejectedError) else None
    return isinstance(error, TryAgainError | ClusterDownError)


def _is_moved(reply: Any) -> bool:
    return isinstance(reply.__cause__, MovedError)


def _is_attached(command: Command) -> bool:
    """Return whether a command belongs to others on the same connection."""
    return command[0] in _ATTACHED or (command[0] == "INFO" and command[1] in _OF_ONE_SERVER)


def _plan(
    cluster: Cluster,
    commands: Sequence[Command],
    places: Sequence[int],
    near: str | None,
    asking: Mapping[int, Address],
) -> list[Route]:
    routes: dict[tuple[Address, bool], Route] = {}

    def find_route(address: Address, is_asking: bool = False) -> Route:
        return routes.setdefault((address, is_asking), Route(address, is_asking))

    def find_owner(key: str | bytes) -> Route:
        return find_route(cluster.owner(key) or cluster.nodes()[0])

    targets: dict[int, list[Route]] = {}
    for place in places:
        if place in asking:
            targets[place] = [find_route(asking[place], is_asking=True)]
        elif (key := find_key(commands[place])) is not None:
            targets[place] = [find_owner(key)]
    used = list(routes.values())
    for place in places:
        if place in targets:
            continue
        if used and _is_attached(commands[place]):
            targets[place] = used
        elif near is not None:
            targets[place] = [find_owner(near)]
        else:
            targets[place] = [find_route(address) for address in cluster.masters()]
    for place in sorted(places):
        for route in targets[place]:
            route.places.append(place)
            route.commands.append(commands[place])
    return [route for route in routes.values() if route.commands]


def _merge(name: str, replies: list[Any]) -> Any:
    """Return one reply for those of several nodes to a command without a key."""
    for reply in replies:
        if isinstance(reply, StoreRejectedError):
            return reply
    if name == "WAIT":
        return min(replies)
    if name == "WAITAOF":
        return [min(numbers) for numbers in zip(*replies, strict=True)]
    if name == "INFO":
        return merge_sections(replies)
    if name == "CONFIG GET":  # of several policies, not the strictest
        return next((reply for reply in replies if reply[1:] != [b"always"]), replies[0])
    return replies[0]
