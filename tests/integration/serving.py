"""`flask-redis-counter serve` as a process."""

import subprocess
import sys

import requests

from flask_redis_counter.testing import wait_until
from flask_redis_counter.testing.stacks.process import Process, free_port


class Serve(Process):
    """One run of `serve`: on a free port of 127.0.0.1, or with the option `--unix`.

    :cvar program: arguments of Python before the command.
    """

    program = ("-m", "flask_redis_counter")

    def __init__(self, log, *options, **environment):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.output = log
        command = [sys.executable, *self.program, "serve"]
        if not any(option.startswith("--unix") for option in options):
            command.append(f"--port={self.port}")
        unset = dict.fromkeys(("REDIS_URL", "REDIS_HOST", "REDIS_PORT"), "")
        super().__init__([*command, *options], log=log, environment=unset | environment)
        self.start()

    def get(self, path="/count"):
        """Send a request."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)

    def ready(self):
        """Wait for the first response, and for the lines that say so."""
        wait_until(lambda: self.get("/healthz").ok, what="an answer")
        return self.announced()

    def announced(self):
        """Wait for the lines of the start: a worker may answer before its parent knows."""
        wait_until(lambda: "see also: " in self.log(), what="the address")
        return self

    def children(self, name=""):
        """Return the process IDs of the children with this name."""
        found = subprocess.check_output(["pgrep", "-P", str(self.pid), name], text=True)
        return [int(pid) for pid in found.split()]


def lines(serve):
    """Return the output so far."""
    return serve.log().splitlines()
