"""Stores that run in containers, with the interface of a local process."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from flask_redis_counter.testing import RedisServerProcess, StackError
from flask_redis_counter.testing.stacks.docker import run_docker
from flask_redis_counter.testing.stacks.project import make_project_name

# The container uses the host's network, and has the folder under the same path.
_SCRIPT = """#!/bin/sh
server='exec "$(command -v redis-server || command -v valkey-server)" "$@"'
exec docker run --rm --name={name} --network=host --user={user} \\
  --volume="{folder}:{folder}" --entrypoint=sh {image} -c "$server" sh "$@"
"""


class StoreContainer(RedisServerProcess):
    """A store in a container, which is removed when the store ends.

    :param image: an image of Redis or Valkey.
    :param folder: existing folder for its data and its log.
    :param options: further options for its command line.
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
        """Send a signal to the server; Docker's client waits for the server and ends after it."""
        with suppress(StackError):  # the container has ended
            run_docker("docker", "kill", f"--signal={number.name}", self._container)
