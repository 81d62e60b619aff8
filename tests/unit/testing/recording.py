"""A fake stack that records the calls of its methods."""

from flask_redis_counter.testing import CommandResult, Replica, Stack, StackError
from flask_redis_counter.testing.stacks.proxy import ProxyControl

#: The status of a service after a call.
STATUS = {"start": "running", "stop": "exited", "kill": "exited"}
STATUS |= {"pause": "paused", "unpause": "running"}


class RecordingProxy:
    """A fake proxy that records its calls in its stack."""

    def __init__(self, stack):
        self._stack = stack

    def inject(self, kind, amount=0.0):
        """Record the call."""
        self._stack.record_call(kind, str(amount))

    def clear(self):
        """Record the call."""
        self._stack.record_call("clear")


class RecordingStack(Stack):
    """A stack with one service, which may have any name.

    :param fail: first words of the calls that fail.
    :param free: KB that are free on its disk, as long as no file fills it.
    :param replicas: number of replicas.
    """

    kind = "recording"

    def __init__(self, *fail, free=1024, replicas=1):
        super().__init__()
        self.calls = []
        self.fillers = set()
        self._fail = fail
        self._status = ["running"] * replicas
        self._free = free
        self._memory = {"maxmemory": "100", "maxmemory-policy": "allkeys-lru"}

    def record_call(self, *words, replica=None):
        """Record a call; raise an error if it is one of those that fail."""
        self.calls.append(" ".join(words) if replica is None else f"{' '.join(words)} {replica}")
        for number in range(len(self._status)):
            if words[0] in STATUS and replica in (None, number):
                self._status[number] = STATUS[words[0]]
        if words[0] in self._fail:
            raise StackError(words[0])

    def up(self, *services):
        """Record the call."""
        self.record_call("up")

    def down(self, *, volumes=False):
        """Record the call."""
        self.record_call("down", "with" if volumes else "without", "volumes")

    def start(self, service, *, replica=None):
        """Record the call."""
        self.record_call("start", service, replica=replica)

    def stop(self, service):
        """Record the call."""
        self.record_call("stop", service)

    def kill(self, service, *, replica=None):
        """Record the call."""
        self.record_call("kill", service, replica=replica)

    def pause(self, service):
        """Record the call."""
        self.record_call("pause", service)

    def unpause(self, service):
        """Record the call."""
        self.record_call("unpause", service)

    def isolate(self, service, *, with_clients=()):
        """Record the call."""
        self.record_call("isolate", service, *with_clients)

    def reconnect(self, service):
        """Record the call."""
        self.record_call("reconnect", service)

    def scale(self, service, replicas):
        """Record the call."""
        self.record_call("scale", service, str(replicas))

    def services(self):
        """Return one service."""
        return ("redis",)

    def state(self, service):
        """Return the status after the last call."""
        return tuple(Replica(service, f"{service}-{i + 1}", s) for i, s in enumerate(self._status))

    def address(self, service, port):
        """Return an address without a server."""
        return "127.0.0.1", 9

    def exec(self, service, *command, replica=0, check=True):
        """Simulate a disk that can be filled and emptied."""
        self.record_call(*command[:1])
        if command[0] == "dd":
            self.fillers |= {word.removeprefix("of=") for word in command if word[:3] == "of="}
        elif command[0] == "rm":
            self.fillers.discard(command[-1])
        free = 0 if self.fillers else self._free
        return CommandResult(
            0, f"Filesystem 1K Used Available Use% at\ntmpfs 9 9 {free} 9% /data", ""
        )

    def run_redis_command(self, service, *command, port=None, replica=0):
        """Simulate a Redis with a memory limit."""
        self.record_call(*command)
        if command[0] == "CONFIG":
            name = command[2]
            if command[1] == "SET":
                self._memory[name] = command[3]
            return f"{name}\n{self._memory[name]}"
        if self._memory == {"maxmemory": "1", "maxmemory-policy": "noeviction"}:
            raise StackError("OOM command not allowed")
        return "OK"

    def proxy(self, service) -> ProxyControl:
        """Return a fake proxy."""
        return RecordingProxy(self)

    def logs(self, *, since=0.0):
        """Return one log."""
        return {"web": "the log"}
