"""HTTP requests that ignore the environment's proxies and ``.netrc``.

The functions have the names of those of requests. A stack under test is local: a proxy could
respond in its place, and requests could send it a password from ``.netrc`` for another service.
"""

from __future__ import annotations

from typing import Any

import requests

#: Default read timeout in seconds. The default of requests is to wait forever.
TIMEOUT = 30.0


def request(
    method: str, url: str, *, timeout: float = TIMEOUT, **options: Any
) -> requests.Response:
    """Send a request on a new connection, and return the response.

    :param timeout: connect and read timeout in seconds.
    :param options: those of :func:`requests.request`.
    :raises requests.RequestException: there is no response.
    """
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=timeout, **options)


def get(url: str, **options: Any) -> requests.Response:
    """Send a GET request."""
    return request("GET", url, **options)


def head(url: str, **options: Any) -> requests.Response:
    """Send a HEAD request; redirects are not followed."""
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
