"""Scheme and root path of the URLs that we write, where proxies are in front."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

from ..extension.state import EXTENSION_KEY, ExtensionState
from ..extension.trusted_proxies import TrustedProxies

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def init_app(app: Flask) -> None:
    """Let the app take the word of the proxies that it believes, and of no others.

    Not Werkzeug's ProxyFix, which counts proxies and believes whoever asks. The host is the one of
    the ``Host`` header, which is judged: a proxy is to pass it on.
    """
    state: ExtensionState = app.extensions[EXTENSION_KEY]
    config = state.config
    if not config.trusted_proxies and not config.root_path:
        return
    proxies = TrustedProxies(config.trusted_proxies)
    ask = app.wsgi_app

    def ask_behind_proxies(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        said = {
            "x-forwarded-proto": environ.get("HTTP_X_FORWARDED_PROTO"),
            "x-forwarded-prefix": environ.get("HTTP_X_FORWARDED_PREFIX"),
        }
        peer = environ.get("REMOTE_ADDR", "")
        if scheme := proxies.scheme(peer, said.get):
            environ["wsgi.url_scheme"] = scheme
        if prefix := proxies.prefix(peer, said.get) or config.root_path:
            # What the server itself has removed (SCRIPT_NAME) lies below.
            environ["SCRIPT_NAME"] = prefix + environ.get("SCRIPT_NAME", "")
        return ask(environ, start_response)

    app.wsgi_app = ask_behind_proxies  # type: ignore[method-assign]
