"""Faults of a stack, as context managers that always clear and never swallow an exception."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeAlias

from ..stacks.errors import StackError
from ..stacks.proxy import NetworkFault
from ..stacks.replica import Replica
from ..stacks.stack import Stack
from .fault import Event, Fault, FaultRegistry, check_running, not_running
from .sentinels import SENTINEL_PORT, Sentinels

#: pytest leaves this module's frames out of tracebacks, and shows the line of the test.
__tracebackhide__ = True

#: :meth:`Faults.disk_full` fills a file system only if it has at most this many megabytes free.
SMALL_DISK_MB = 256

#: A fault that is active while its ``with`` block runs.
FaultContext: TypeAlias = AbstractContextManager[None]


class Faults:
    """Injects faults into a stack.

    Each method returns a context manager. The fault is active when the block begins, and is
    cleared when the block ends, even after an exception. The exception propagates; if the fault
    cannot be cleared, a note on the exception says so.

    A service, or a replica of it, can have one fault at a time, because clearing one of two would
    clear the other as well. A second one raises :exc:`StackError`, and so does a fault of a
    service that does not exist or does not run.

    :param stack: the stack to break.
    :param timeout: seconds until a fault must be active, or cleared.
    :ivar history: the phases of all faults.
    """

    def __init__(self, stack: Stack, *, timeout: float = 30.0) -> None:
        self.stack = stack
        self._timeout = timeout
        self._registry = FaultRegistry()
        self.history: list[Event] = self._registry.history

    def stopped(self, service: str) -> FaultContext:
        """Stop a service with SIGTERM: its port refuses connections."""
        return self._down(f"{service} stopped", service, lambda: self.stack.stop(service))

    def killed(self, service: str, *, replica: int | None = None) -> FaultContext:
        """Kill a service or one replica of it with SIGKILL; start it again afterwards.

        :param replica: its number, from 0; None: all of them.
        """
        which = service if replica is None else f"{service} {replica}"
        return self._down(
            f"{which} killed", service, lambda: self.stack.kill(service, replica=replica), replica
        )

    def paused(self, service: str) -> FaultContext:
        """Freeze a service: it keeps its connections, and does not respond."""

        def inject() -> None:
            self.stack.pause(service)
            self._wait(service, "paused")

        def clear() -> None:
            # The test may have stopped it and started it again.
            replicas = self.stack.state(service)
            if not replicas or any(one.status == "paused" for one in replicas):
                self.stack.unpause(service)
            self._wait(service, "running")

        fault = f"{service} paused"
        return self._make_fault(fault, service, inject, clear, check=partial(check_running, fault))

    def partitioned(self, service: str) -> FaultContext:
        """Disconnect a service from the network: packets vanish, names may not resolve."""
        fault = f"{service} partitioned"
        return self._make_fault(
            fault,
            service,
            lambda: self.stack.isolate(service),
            lambda: self.stack.reconnect(service),
            check=partial(check_running, fault),
            # A ProcessStack isolates with the proxy.
            targets={service, _network_of(service), _proxy_of(service)},
        )

    def isolated(self, service: str, *, with_clients: Collection[str]) -> FaultContext:
        """Disconnect a service from all others but some clients, which find it under its name.

        So an isolated master still accepts what these clients write, while its replicas and its
        Sentinels cannot reach it. Open connections go silent; new ones of these clients work.
        It needs a :class:`.ComposeStack`. The service's ports are not published meanwhile.

        :param with_clients: the names of these services.
        :raises StackError: a client does not exist or does not run, or is the service itself.
        """
        fault = f"{service} isolated with {', '.join(with_clients)}"

        def check(replicas: tuple[Replica, ...]) -> None:
            check_running(fault, replicas)
            for client in with_clients:
                if client == service:
                    raise StackError(f"{fault}: {client} is the isolated service, not a client")
                if not (found := self.stack.state(client)):
                    raise StackError(f"{fault}: the stack has no service {client}")
                check_running(fault, found)

        return self._make_fault(
            fault,
            service,
            lambda: self.stack.isolate(service, with_clients=with_clients),
            lambda: self.stack.reconnect(service),
            check=check,
            targets={service, *map(_network_of, (service, *with_clients))},
        )

    def failover(
        self, sentinel: str, master: str | None = None, *, port: int = SENTINEL_PORT
    ) -> FaultContext:
        """Promote a replica by a Sentinel; the block begins when the Sentinels name it the master.

        Nothing is cleared at the end of the block: the promoted replica stays the master. The
        Sentinel may refuse for a while, because the last failover has not ended or the replicas
        are not in step; it is asked again within the timeout.

        :param sentinel: the service of the Sentinel, or of several as its replicas, which must
            agree on the new master.
        :param master: the name of the monitored master; None: the only one that there is.
        :param port: the Sentinel's port, 1 to 65,535; a :class:`.ProcessStack` ignores it.
        :raises StackError: the Sentinel knows no master of that name, or several if None.
        :raises StackTimeoutError: the Sentinels do not name another master in time.
        """
        fault = f"failover by {sentinel}"
        group = Sentinels(self.stack, sentinel, port=port)
        # No targets: it goes together with other faults, because none of them clears it.
        return self._make_fault(
            fault,
            sentinel,
            lambda: group.fail_over(master, timeout=self._timeout),
            lambda: None,
            check=partial(check_running, fault),
            targets=(),
        )

    def latency(self, service: str, seconds: float) -> FaultContext:
        """Delay each packet through a service's proxy, in both directions."""
        return self._network_fault(service, "latency", seconds)

    def bandwidth_limited(self, service: str, bytes_per_second: float) -> FaultContext:
        """Limit the bandwidth of each connection through a service's proxy, per direction."""
        return self._network_fault(service, "bandwidth_limited", bytes_per_second)

    def connections_reset(self, service: str) -> FaultContext:
        """Reset the connections through a service's proxy, and each new one."""
        return self._network_fault(service, "connections_reset")

    def half_open(self, service: str) -> FaultContext:
        """Silence the open connections, as if the peer had lost its power; new ones work."""
        return self._network_fault(service, "half_open")

    def responses_dropped(self, service: str) -> FaultContext:
        """Deliver the requests to a service, and drop its responses.

        A new connection gets the responses to :data:`~.proxy.HANDSHAKE`, because its client would
        never send a command otherwise. With TLS, and in other protocols, it gets none.
        """
        return self._network_fault(service, "responses_dropped")

    def disk_full(self, service: str, path: str) -> FaultContext:
        """Fill the disk that holds a service's folder: a small volume, not the machine's disk.

        :raises StackError: more than :data:`SMALL_DISK_MB` are free.
        """
        filler = f"{path}/.disk-full-{secrets.token_hex(4)}"

        def get_free_bytes() -> int:
            output = self.stack.exec(service, "df", "-Pk", path).output
            return int(output.splitlines()[-1].split()[3]) * 1024

        def inject() -> None:
            if (free := get_free_bytes()) > SMALL_DISK_MB * 1024 * 1024:
                raise StackError(
                    f"{path} of {service} has {free // 2**20} MB free: only a disk with at most "
                    f"{SMALL_DISK_MB} MB free is filled; give the service a volume with a size"
                )
            self.stack.exec(service, "dd", "if=/dev/zero", f"of={filler}", "bs=4k", check=False)
            if left := get_free_bytes():
                raise StackError(f"{path} of {service} still has {left} bytes free")

        def clear() -> None:
            self.stack.exec(service, "rm", "-f", filler)

        # No targets: it goes together with other faults, because none of them clears it.
        return self._make_fault(f"disk of {service} full", service, inject, clear, targets=())

    def out_of_memory(self, service: str) -> FaultContext:
        """Let a Redis-compatible server reject writes that need memory, and evict nothing."""
        before: dict[str, str] = {}
        settings = {"maxmemory-policy": "noeviction", "maxmemory": "1"}
        run = partial(self.stack.run_redis_command, service)

        def inject() -> None:
            for name, setting in settings.items():
                before[name] = run("CONFIG", "GET", name).split()[-1]
                run("CONFIG", "SET", name, setting)
            try:
                run("SET", "out-of-memory", "", "EX", "1")
            except StackError as error:
                if "OOM" not in str(error):
                    raise
            else:
                raise StackError(f"{service} still accepts writes")

        def clear() -> None:
            for name, setting in before.items():
                run("CONFIG", "SET", name, setting)

        return self._make_fault(f"{service} out of memory", service, inject, clear)

    def _down(
        self, fault: str, service: str, inject: Callable[[], None], replica: int | None = None
    ) -> FaultContext:
        stopped: list[int | None] = []  # None: all replicas

        def check(replicas: tuple[Replica, ...]) -> None:
            running = [n for n, one in enumerate(replicas) if one.status == "running"]
            stopped.extend(n for n in running if replica in (None, n))
            if not stopped:
                raise not_running(fault, replicas)
            if len(stopped) == len(replicas):
                stopped[:] = [None]

        def inject_and_wait() -> None:
            inject()
            for number in stopped:
                self._wait(service, "exited", number)

        def clear() -> None:
            for number in stopped:
                self.stack.start(service, replica=number)

        return self._make_fault(
            fault, service, inject_and_wait, clear, check=check, replica=replica
        )

    def _network_fault(self, service: str, kind: NetworkFault, amount: float = 0.0) -> FaultContext:
        by = f" by {amount:g}" if amount else ""
        return self._make_fault(
            f"network of {service} {kind.replace('_', ' ')}{by}",
            service,
            lambda: self.stack.proxy(service).inject(kind, amount),
            # Looked up again: a proxy that was restarted has another address.
            lambda: self.stack.proxy(service).clear(),
            check=lambda _: self.stack.proxy(service),
            targets={_proxy_of(service)},
        )

    def _make_fault(
        self,
        name: str,
        service: str,
        inject: Callable[[], object],
        clear: Callable[[], object],
        **options: Any,
    ) -> FaultContext:
        return Fault(name, self.stack, service, inject, clear, registry=self._registry, **options)

    def _wait(self, service: str, status: str, replica: int | None = None) -> None:
        self.stack.wait_for(
            service,
            lambda one: one.status == status,
            what=status,
            timeout=self._timeout,
            replica=replica,
        )


def _proxy_of(service: str) -> str:
    """Return the name of the proxy in front of a service."""
    return f"{service}-proxy"


def _network_of(service: str) -> str:
    """Return the target of faults that change the networks of a service's containers."""
    return f"the network of {service}"
