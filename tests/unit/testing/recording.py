"""A stack that only remembers what it was told."""

from flask_redis_counter.testing import CommandResult, Replica, Stack, StackError
from flask_redis_counter.testing.stacks.proxy import ProxyControl

#: What becomes of a service by what it is told.
STATUS = {"start": "running", "stop": "exited", "kill": "exited"}
STATUS |= {"pause": "paused", "unpause": "running"}


class RecordingProxy:
    """A proxy that tells its stack."""

    def __init__(self, stack):
        self._stack = stack

    def inject(self, kind, amount=0.0):
        """Remember it."""
        self._stack.remember(kind, str(amount))

    def clear(self):
        """Remember it."""
        self._stack.remember("clear")


class RecordingStack(Stack):
    """A stack of one service, which it has whatever it is called.

    :param fail: the words on which it fails.
    :param free: how many KB of its disk are free, as long as nobody fills it.
    :param replicas: how many there are of it.
    """

    kind = "recording"

    def __init__(self, *fail, free=1024, replicas=1):
        super().__init__()
        self.told = []
        self.fillers = set()
        self._fail = fail
        self._status = ["running"] * replicas
        self._free = free
        self._memory = {"maxmemory": "100", "maxmemory-policy": "allkeys-lru"}

    def remember(self, *words, replica=None):
        """Take note, and fail where that is wanted."""
        self.told.append(" ".join(words) if replica is None else f"{' '.join(words)} {replica}")
        for number in range(len(self._status)):
            if words[0] in STATUS and replica in (None, number):
                self._status[number] = STATUS[words[0]]
        if words[0] in self._fail:
            raise StackError(words[0])

    def up(self, *services):
        """Remember it."""
        self.remember("up")

    def down(self, *, volumes=False):
        """Remember it."""
        self.remember("down", "with" if volumes else "without", "volumes")

    def start(self, service, *, replica=None):
        """Remember it."""
        self.remember("start", service, replica=replica)

    def stop(self, service):
        """Remember it."""
        self.remember("stop", service)

    def kill(self, service, *, replica=None):
        """Remember it."""
        self.remember("kill", service, replica=replica)

    def pause(self, service):
        """Remember it."""
        self.remember("pause", service)

    def unpause(self, service):
        """Remember it."""
        self.remember("unpause", service)

    def isolate(self, service):
        """Remember it."""
        self.remember("isolate", service)

    def reconnect(self, service):
        """Remember it."""
        self.remember("reconnect", service)

    def scale(self, service, replicas):
        """Remember it."""
        self.remember("scale", service, str(replicas))

    def services(self):
        """Have one."""
        return ("redis",)

    def state(self, service):
        """Say what it was told last."""
        return tuple(Replica(service, f"{service}-{i + 1}", s) for i, s in enumerate(self._status))

    def address(self, service, port):
        """Be nowhere."""
        return "127.0.0.1", 9

    def exec(self, service, *command, replica=0, check=True):
        """Play a disk that can be filled and emptied."""
        self.remember(*command[:1])
        if command[0] == "dd":
            self.fillers |= {word.removeprefix("of=") for word in command if word[:3] == "of="}
        elif command[0] == "rm":
            self.fillers.discard(command[-1])
        free = 0 if self.fillers else self._free
        return CommandResult(
            0, f"Filesystem 1K Used Available Use% at\ntmpfs 9 9 {free} 9% /data", ""
        )

    def run_redis_command(self, service, *command):
        """Play a store that has a limit of memory."""
        self.remember(*command)
        if command[0] == "CONFIG":
            name = command[2]
            if command[1] == "SET":
                self._memory[name] = command[3]
            return f"{name}\n{self._memory[name]}"
        if self._memory == {"maxmemory": "1", "maxmemory-policy": "noeviction"}:
            raise StackError("OOM command not allowed")
        return "OK"

    def proxy(self, service) -> ProxyControl:
        """Have one that tells."""
        return RecordingProxy(self)

    def logs(self, *, since=0.0):
        """Say one thing."""
        return {"web": "the log"}
