"""What every answer tells a browser: what its pages may do, and who may read it.

The policy is as strict as it can be: the pages have no inline script or style.
Cross-origin requests: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from flask import Flask, Response, request

from ..extension.state import EXTENSION_KEY, ExtensionState
from .negotiation import HTML

# No browser takes what it gets for something else; none does so with JSON.
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}

_PAGES = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

#: What pages of other origins may be shown, besides the body.
_EXPOSED = "Idempotent-Replayed, Retry-After"
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST",
    "Access-Control-Allow-Headers": "Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}


def init_app(app: Flask) -> None:
    """Guard every answer of the app."""
    state: ExtensionState = app.extensions[EXTENSION_KEY]

    @app.after_request
    def guard(response: Response) -> Response:
        if not response.is_json:
            response.headers.update(_NOSNIFF)
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
    """Return the headers that let a page of an origin read an answer, none where it may not.

    :param allowed: the origins whose pages may; ``*`` is every one.
    """
    if "*" not in allowed and origin not in allowed:
        return {}
    # The answer is the same for everybody, without cookies: "*" gives nothing away.
    shown = "*" if "*" in allowed else str(origin)
    return {"Access-Control-Allow-Origin": shown, "Access-Control-Expose-Headers": _EXPOSED}
