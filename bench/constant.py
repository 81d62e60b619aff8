"""A Flask view that counts nothing: what the web server and Flask cost by themselves."""

from __future__ import annotations

import sys

from flask import Flask


def make_app() -> Flask:
    """Make an app whose ``/count`` always answers the same."""
    app = Flask(__name__)

    @app.route("/count")
    def count() -> dict[str, str | int | bool]:
        return {"name": "visits", "value": 1, "counted": True}

    return app


def main() -> None:
    """Serve it by WSGI, on the server that we use."""
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
