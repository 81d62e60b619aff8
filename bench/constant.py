"""A Flask view that counts nothing: the baseline for the cost of web server and Flask."""

from __future__ import annotations

import sys

from flask import Flask


def make_app() -> Flask:
    """Make an app whose ``/count`` returns a constant."""
    app = Flask(__name__)

    @app.route("/count")
    def count() -> dict[str, str | int | bool]:
        return {"name": "visits", "value": 1, "counted": True}

    return app


def main() -> None:
    """Serve it on Granian; the arguments are the port and the threads per worker."""
    from granian.constants import Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    Server(
        "bench.constant:make_app",
        factory=True,
        port=int(sys.argv[1]),
        interface=Interfaces.WSGI,
        workers=2,
        blocking_threads=int(sys.argv[2]),
        log_level=LogLevels.warning,
    ).serve()


if __name__ == "__main__":
    main()
