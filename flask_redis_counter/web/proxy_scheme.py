"""Scheme and root path of generated URLs, from the headers of trusted proxies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

from ..extension.state import EXTENSION_KEY, ExtensionState
from ..extension.trusted_proxies import TrustedProxies

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def init_app(app: Flask) -> None:
    """Set scheme and root path in the WSGI environ, from the headers of trusted proxies only.

    Werkzeug's ProxyFix counts proxies, and so trusts any client. The host always comes from the
    ``Host`` header, which is checked: a proxy has to pass it on.
    """
    state: ExtensionState = app.extensions[EXTENSION_KEY]
    config = state.config
    if not config.trusted_proxies and not config.root_path:
        return
    proxies = TrustedProxies(config.trusted_proxies)
    wrapped = app.wsgi_app

    def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        headers = {
            "x-forwarded-proto": environ.get("HTTP_X_FORWARDED_PROTO"),
            "x-forwarded-prefix": environ.get("HTTP_X_FORWARDED_PREFIX"),
        }
        peer = environ.get("REMOTE_ADDR", "")
        if scheme := proxies.scheme(peer, headers.get):
            environ["wsgi.url_scheme"] = scheme
        if prefix := proxies.prefix(peer, headers.get) or config.root_path:
            # The part that the server removed from the path (SCRIPT_NAME) is below the prefix.
            environ["SCRIPT_NAME"] = prefix + environ.get("SCRIPT_NAME", "")
        return wrapped(environ, start_response)

    app.wsgi_app = wsgi_app  # type: ignore[method-assign]
