"""Servers of images, as if they were programs of this machine."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flask_redis_counter.testing import RedisServerProcess, StackError
from flask_redis_counter.testing.stacks.docker import run_docker
from flask_redis_counter.testing.stacks.project import make_project_name

# Its container has the network of this machine, and its folder under the same path.
_SCRIPT = """#!/bin/sh
server='exec "$(command -v redis-server || command -v valkey-server)" "$@"'
exec docker run --rm --name={name} --network=host --user={user} \\
  --volume="{folder}:{folder}" --entrypoint=sh {image} -c "$server" sh "$@"
"""


class StoreContainer(RedisServerProcess):
    """A store that runs in a container; ends with it.

    :param image: what has it, Redis or Valkey.
    :param folder: where it keeps its data and its log; must exist.
    :param options: further options, as on its command line.
    """

    def __init__(self, image: str, folder: Path, *, options: Sequence[str] = ()) -> None:
        self._container = make_project_name("store")
        user = f"{os.getuid()}:{os.getgid()}"
        script = folder / "server"
        script.write_text(
            _SCRIPT.format(name=self._container, user=user, folder=folder, image=image)
        )
        script.chmod(0o755)
        super().__init__(folder, binary=str(script), options=options)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server; Docker's client, which waits for it, ends after it."""
        with suppress(StackError):  # it has ended
            run_docker("docker", "kill", f"--signal={number.name}", self._container)
