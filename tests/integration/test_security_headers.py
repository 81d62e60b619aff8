"""What answers tell a browser about themselves."""

import pytest

from .support import BROWSER, KEY

ELSEWHERE = "https://example.org"


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/counters/a.txt", "/hit/a.svg"])
def test_no_answer_is_taken_for_something_else(web, path):
    """Whatever it is; JSON never is."""
    web.post("/counters/a/hits")
    with web.get(path) as response:
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Content-Type-Options" not in web.get("/count").headers


@pytest.mark.parametrize("path", ["/", "/count", "/counters/visits", "/nowhere"])
def test_pages_run_nothing_of_others(web, path):
    """A strict policy goes with each page, and no page has a script or style of its own in it."""
    web.get("/count")
    response = web.get(path, headers=BROWSER)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in response.text
    assert " style=" not in response.text
    assert "<script>" not in response.text
    assert "Content-Security-Policy" not in web.get("/count").headers


def test_pages_of_others_read_nothing_unasked(web):
    """Without the setting no answer is shared."""
    for method in (web.get, web.options):
        response = method("/count", headers={"Origin": ELSEWHERE})
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
        assert "Origin" not in response.headers["Vary"] if "Vary" in response.headers else True


@pytest.mark.parametrize("allowed", ["*", f"https://a.example, {ELSEWHERE}"])
def test_pages_of_some_others_may_read_and_hit(server, client, client_of, allowed):
    """The answer says so, errors too, and so does the one to the browser's own question."""
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


def test_pages_of_strangers_may_not(server, client, client_of):
    """They are told nothing, and caches are told that others may be."""
    web = client_of(REDIS_URL=server.url, COUNTER_CORS_ORIGINS=ELSEWHERE, COUNTER_TIMEOUT=10)
    for origin in ("https://evil.example", "null", f"{ELSEWHERE}.evil.example"):
        response = web.post("/counters/visits/hits", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.headers["Vary"]
