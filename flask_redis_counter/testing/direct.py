"""HTTP requests that go straight to their server: no proxy of the environment, no ``.netrc``.

The functions are those of requests. A stack under test is local: a proxy could answer in its
place, and a password for another service would be sent to it.
"""

from __future__ import annotations

from typing import Any

import requests

#: Seconds that a server may be silent, by default: requests waits for ever.
TIMEOUT = 30.0


def request(
    method: str, url: str, *, timeout: float = TIMEOUT, **options: Any
) -> requests.Response:
    """Send a request on a connection of its own, and return the answer.

    :param timeout: seconds that the server may be silent.
    :param options: those of :func:`requests.request`.
    :raises requests.RequestException: there is no answer.
    """
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=timeout, **options)


def get(url: str, **options: Any) -> requests.Response:
    """Send a GET request."""
    return request("GET", url, **options)


def head(url: str, **options: Any) -> requests.Response:
    """Send a HEAD request; a redirect is not followed."""
    return request("HEAD", url, **{"allow_redirects": False, **options})


def post(url: str, data: Any = None, **options: Any) -> requests.Response:
    """Send a POST request."""
    return request("POST", url, data=data, **options)


def put(url: str, data: Any = None, **options: Any) -> requests.Response:
    """Send a PUT request."""
    return request("PUT", url, data=data, **options)


def delete(url: str, **options: Any) -> requests.Response:
    """Send a DELETE request."""
    return request("DELETE", url, **options)
