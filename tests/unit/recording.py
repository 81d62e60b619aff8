"""A stack that only remembers what it was told."""

from flask_redis_counter.testing import Completed, Replica, Stack, StackError
from flask_redis_counter.testing.proxy import ProxyControl

#: What becomes of a service by what it is told.
STATUS = {"start": "running", "stop": "exited", "kill": "exited"}
STATUS |= {"pause": "paused", "unpause": "running"}


class RecordingProxy:
    """A proxy that tells its stack."""

    def __init__(self, stack):
        self._stack = stack

    def trouble(self, kind, amount=0.0):
        """Remember it."""
        self._stack.remember(kind, str(amount))

    def heal(self):
        """Remember it."""
        self._stack.remember("heal")


class RecordingStack(Stack):
    """A stack of one service.

    :param fail: the words on which it fails.
    :param free: how many KB of its disk are free, as long as nobody fills it.
    """

    kind = "recording"

    def __init__(self, *fail, free=1024):
        super().__init__()
        self.told = []
        self._fail = fail
        self._status = "running"
        self._free = free
        self._memory = {"maxmemory": "100", "maxmemory-policy": "allkeys-lru"}

    def remember(self, *words):
        """Take note, and fail where that is wanted."""
        self.told.append(" ".join(words))
        self._status = STATUS.get(words[0], self._status)
        if words[0] in self._fail:
            raise StackError(words[0])

    def up(self, *services):
        """Remember it."""
        self.remember("up")

    def down(self, *, volumes=False):
        """Remember it."""
        self.remember("down", "with" if volumes else "without", "volumes")

    def start(self, service):
        """Remember it."""
        self.remember("start", service)

    def stop(self, service):
        """Remember it."""
        self.remember("stop", service)

    def kill(self, service, *, replica=None):
        """Remember it; with one replica less it runs on."""
        before = self._status
        self.remember("kill", service)
        if replica is not None:
            self._status = before

    def pause(self, service):
        """Remember it."""
        self.remember("pause", service)

    def unpause(self, service):
        """Remember it."""
        self.remember("unpause", service)

    def cut(self, service):
        """Remember it."""
        self.remember("cut", service)

    def mend(self, service):
        """Remember it."""
        self.remember("mend", service)

    def scale(self, service, replicas):
        """Remember it."""
        self.remember("scale", service, str(replicas))

    def services(self):
        """Have one."""
        return ("redis",)

    def state(self, service):
        """Say what it was told last."""
        return (Replica(service, f"{service}-1", self._status),)

    def address(self, service, port):
        """Be nowhere."""
        return "127.0.0.1", 9

    def exec(self, service, *command, replica=0, check=True):
        """Play a disk that can be filled and emptied."""
        self.remember(*command[:1])
        free = 0 if self.told.count("dd") > self.told.count("rm") else self._free
        return Completed(0, f"Filesystem 1K Used Available Use% at\ntmpfs 9 9 {free} 9% /data", "")

    def store(self, service, *command):
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
