"""Run webdis, which sends the command in the URL's path to the store.

Arguments: the port, the number of threads, and the connections to the store of each thread.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Write its settings, and replace this process with it."""
    settings = {
        "redis_host": os.environ["REDIS_HOST"],
        "redis_port": int(os.environ["REDIS_PORT"]),
        "http_host": "127.0.0.1",
        "http_port": int(sys.argv[1]),
        "threads": int(sys.argv[2]),
        "pool_size": int(sys.argv[3]),
        "daemonize": False,
        "verbosity": 0,
        "logfile": os.devnull,
    }
    file = Path(tempfile.mkdtemp(prefix="bench-webdis-")) / "webdis.json"
    file.write_text(json.dumps(settings))
    os.execlp("webdis", "webdis", str(file))  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
