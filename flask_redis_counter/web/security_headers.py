"""Security headers of every response: content security policy, MIME sniffing and CORS.

The policy forbids inline scripts and styles; the pages have none.
CORS protocol: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from flask import Flask, Response, request

from ..extension.state import EXTENSION_KEY, ExtensionState
from .negotiation import HTML

#: Disables MIME sniffing (not needed for JSON).
NOSNIFF = {"X-Content-Type-Options": "nosniff"}

_PAGES = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# Response headers that scripts of other origins may read.
_EXPOSED = "Idempotent-Replayed, Retry-After"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}


def init_app(app: Flask) -> None:
    """Add the headers to every response of the app."""
    state: ExtensionState = app.extensions[EXTENSION_KEY]

    @app.after_request
    def add_headers(response: Response) -> Response:
        if not response.is_json:
            response.headers.update(NOSNIFF)
        if response.mimetype == HTML:
            response.headers.update(_PAGES)
        if state.config.cors_origins:
            response.headers.update(
                cors_headers(state.config.cors_origins, request.headers.get("Origin"))
            )
            response.vary.add("Origin")
            if request.method == "OPTIONS":
                response.headers.update(_PREFLIGHT)
        return response


def cors_headers(allowed: tuple[str, ...], origin: str | None) -> dict[str, str]:
    """Return the headers that let scripts of an origin read a response; empty if not allowed.

    :param allowed: the allowed origins; ``*`` allows all.
    :param origin: the header ``Origin`` of the request.
    """
    if "*" not in allowed and origin not in allowed:
        return {}
    # Responses do not depend on cookies, so "*" discloses nothing.
    allowed_origin = "*" if "*" in allowed else str(origin)
    return {
        "Access-Control-Allow-Origin": allowed_origin,
        "Access-Control-Expose-Headers": _EXPOSED,
    }
