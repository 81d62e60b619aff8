"""Spans of requests, as an OpenTelemetry collector receives them."""

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flask_redis_counter import ConfigurationError, create_app
from flask_redis_counter.testing import wait_until
from flask_redis_counter.web.request_log import TRACER_KEY

from .support import nowhere

collector_of = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def collected(monkeypatch):
    """Collect spans, and point the service to the collector."""
    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for batch in collector_of.ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = dict(map(plain, batch.resource.attributes))
                for scope in batch.scope_spans:
                    spans.extend((resource["service.name"], span) for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        yield spans
        server.shutdown()


def plain(attribute):
    """Return an attribute's name and value."""
    kind = attribute.value.WhichOneof("value")
    return attribute.key, getattr(attribute.value, kind)


def spans_of(web, collected):
    """Return the spans so far: name, attributes and the span."""
    web.application.extensions[TRACER_KEY].flush()
    return [(span.name, dict(map(plain, span.attributes)), span) for _, span in collected]


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("GET", "/count", 200, "/count"),
        ("POST", "/counters/a/hits", 200, "/counters/<name>/hits"),
        ("GET", "/counters/a", 404, "/counters/<name>"),
        ("GET", "/nowhere", 404, None),
    ],
)
def test_span_of_a_request(server, client, client_of, collected, method, path, status, route):
    """A span is part of the request's trace, with route and status, and without an address."""
    web = client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_TRACING=True)
    headers = {"traceparent": PARENT, "User-Agent": "Agent"}
    web.open(path, method=method, headers=headers)
    ((name, attributes, span),) = spans_of(web, collected)
    assert name == (f"{method} {route}" if route else method)
    expected = {"http.request.method": method, "http.response.status_code": status}
    assert attributes == expected | {"url.path": path} | ({"http.route": route} if route else {})
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == "00f067aa0ba902b7"
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10e9
    assert collected[0][0] == "flask-redis-counter"


def test_span_without_a_trace(server, client, client_of, collected):
    """A request without a trace starts a new one."""
    web = client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_TRACING=True)
    for _ in range(2):
        web.get("/count")
    traces = {span.trace_id for _, _, span in spans_of(web, collected)}
    assert len(traces) == 2
    assert bytes(16) not in traces


def test_span_of_a_failure(client_of, collected):
    """A failed request has the error's name and message in its span."""
    web = client_of(REDIS_URL=nowhere(), COUNTER_TRACING=True)
    web.get("/count")
    ((_, attributes, span),) = spans_of(web, collected)
    assert attributes["error.type"] == "StoreUnavailableError"
    assert attributes["http.response.status_code"] == 503
    assert "no connection to the store" in span.status.message


def test_spans_are_flushed_at_a_stop(serve, server, client, collected):
    """A stopped service loses no spans, and has the service name of the environment."""
    run = serve(REDIS_URL=server.url, COUNTER_TRACING="true", OTEL_SERVICE_NAME="visits").ready()
    for _ in range(5):
        run.get()
    run.stop()
    wait_until(lambda: len(named("GET /count", collected)) == 5, what="five spans", timeout=5)
    assert {service for service, _ in collected} == {"visits"}


def named(name, collected):
    """Return the spans of this name."""
    return [span for _, span in collected if span.name == name]


def test_unreachable_collector(server, client, client_of, monkeypatch):
    """Hits are answered before spans are sent."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    web = client_of(REDIS_URL=server.url, COUNTER_TIMEOUT=10, COUNTER_TRACING=True)
    assert [web.get("/count").json["value"] for _ in range(20)] == list(range(1, 21))


def test_tracing_without_the_extra(monkeypatch):
    """Without the extra, the error says what to install."""
    monkeypatch.setattr("flask_redis_counter.config.config.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"flask-redis-counter\[traces\]"):
        create_app({"COUNTER_TRACING": True})


def test_span_ids_are_random(collected):
    """Span IDs come from the system: a forked process shares the state of Python's random."""
    tracer = create_app({"REDIS_URL": nowhere(), "COUNTER_TRACING": True}).extensions[TRACER_KEY]
    for _ in range(2):
        random.seed(1)
        tracer.record_request("GET", "/count", "/count", 200, 0.0, lambda _: None)
    tracer.flush()
    (_, one), (_, other) = collected
    assert one.trace_id != other.trace_id
    assert one.span_id != other.span_id
