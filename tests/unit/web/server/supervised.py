"""A server under the supervisor, as a program: `python supervised.py PORT WORKERS KIND`.

Each connection gets the process ID of its worker in one line, and is closed.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from flask_redis_counter.errors import CounterError
from flask_redis_counter.web.server import supervisor
from flask_redis_counter.web.server.listeners import listen_tcp

#: Shorter than in production, so that the tests do not take long.
SHUTDOWN_TIMEOUT = 1.0


async def answer(reader, writer):
    """Send the process ID and close."""
    writer.write(b"%d\n" % os.getpid())
    writer.close()


async def serve(sockets, ready):
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    servers = [await asyncio.start_server(answer, sock=listener) for listener in sockets]
    ready()
    await stopping.wait()
    for server in servers:
        server.close()


def good(sockets, ready):
    """Serve."""
    asyncio.run(serve(sockets, ready))


def broken(sockets, ready):
    """Fail at the start."""
    raise RuntimeError("no such app")


def misconfigured(sockets, ready):
    """Fail at the start with an error of this package."""
    raise CounterError("no such setting")


def short_lived(sockets, ready):
    """Serve, and crash soon afterwards."""
    ready()
    os._exit(3)


def half_broken(sockets, ready):
    """Fail at the start once in all processes, then serve."""
    try:
        Path(sys.argv[4]).touch(exist_ok=False)
    except FileExistsError:
        good(sockets, ready)
    else:
        broken(sockets, ready)


def deaf(sockets, ready):
    """Serve, and ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    time.sleep(60)


def slow_to_stop(sockets, ready):
    """Serve, and take most of the time-out to stop."""
    asyncio.run(serve(sockets, ready))
    time.sleep(SHUTDOWN_TIMEOUT * 0.8)


def say(text):
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main():
    """Serve; print `started`, then `error: …` or `stopped`."""
    supervisor.SHUTDOWN_TIMEOUT = SHUTDOWN_TIMEOUT
    port, workers, kind = int(sys.argv[1]), int(sys.argv[2]), globals()[sys.argv[3]]
    try:
        with listen_tcp("127.0.0.1", port, workers) as listeners:
            supervisor.Supervisor(listeners, kind).run(lambda: say("started"))
    except CounterError as error:
        sys.exit(f"error: {error}")
    say("stopped")


if __name__ == "__main__":
    main()
