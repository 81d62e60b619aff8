"""Security headers of responses."""

import pytest

from .support import BROWSER, KEY

ELSEWHERE = "https://example.org"


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/counters/a.txt", "/hit/a.svg"])
def test_nosniff(web, path):
    """Every response except JSON disables MIME sniffing."""
    web.post("/counters/a/hits")
    with web.get(path) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Content-Type-Options" not in web.get("/count").headers


@pytest.mark.parametrize("path", ["/", "/count", "/counters/visits", "/nowhere"])
def test_content_security_policy(web, path):
    """Each page has a strict policy, and no inline script or style."""
    web.get("/count")
    response = web.get(path, headers=BROWSER)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in response.text
    assert " style=" not in response.text
    assert "<script>" not in response.text
    assert "Content-Security-Policy" not in web.get("/count").headers


def test_cors_off(web):
    """Without COUNTER_CORS_ORIGINS no response has CORS headers."""
    for method in (web.get, web.options):
        response = method("/count", headers={"Origin": ELSEWHERE})
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
        assert "Origin" not in response.headers["Vary"] if "Vary" in response.headers else True


@pytest.mark.parametrize("allowed", ["*", f"https://a.example, {ELSEWHERE}"])
def test_cors_allowed(server, client, client_of, allowed):
    """An allowed origin may read and hit: responses, errors and preflights say so."""
    web = client_of(REDIS_URL=server.url, COUNTER_CORS_ORIGINS=allowed, COUNTER_TIMEOUT=10)
    origin = {"Origin": ELSEWHERE}
    expected = "*" if allowed == "*" else ELSEWHERE
    asked = web.options(
        "/counters/a/hits", headers={**origin, "Access-Control-Request-Method": "POST"}
    )
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
    assert "Idempotency-Key" in asked.headers["Access-Control-Allow-Headers"]
    for response in (
        asked,
        web.post("/counters/visits/hits", headers=origin),
        web.get("/counters/visits", headers=origin),
        web.post("/counters/visits/hits?amount=0", headers=origin),
    ):
        assert response.headers["Access-Control-Allow-Origin"] == expected
        assert "Idempotent-Replayed" in response.headers["Access-Control-Expose-Headers"]
        assert "Origin" in response.headers["Vary"]
    assert client.get(KEY) == b"1"


def test_cors_other_origin(server, client, client_of):
    """Another origin gets no CORS headers, and Vary: Origin for caches."""
    web = client_of(REDIS_URL=server.url, COUNTER_CORS_ORIGINS=ELSEWHERE, COUNTER_TIMEOUT=10)
    for origin in ("https://evil.example", "null", f"{ELSEWHERE}.evil.example"):
        response = web.post("/counters/visits/hits", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.headers["Vary"]
