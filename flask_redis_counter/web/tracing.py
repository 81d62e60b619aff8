"""OpenTelemetry spans of requests, each in the trace that its request belongs to.

A span has the route and the status, but no client address. The exporter is configured with
OpenTelemetry's variables (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME`` …):
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from multiprocessing.util import Finalize
from typing import Any

#: Request headers that carry the trace context.
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")

#: Default of OTEL_SERVICE_NAME.
DEFAULT_SERVICE_NAME = "flask-redis-counter"


class Tracer:
    """Exports the spans of this process, in a thread."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        named = Resource({"service.name": DEFAULT_SERVICE_NAME}).merge(
            OTELResourceDetector().detect()
        )

        class SecureIdGenerator(IdGenerator):
            # The SDK uses Python's random module, whose state a forked process shares.
            def generate_trace_id(self) -> int:
                return secrets.randbits(128) or 1

            def generate_span_id(self) -> int:
                return secrets.randbits(64) or 1

        resource = Resource.create().merge(named)
        self._provider = TracerProvider(resource=resource, id_generator=SecureIdGenerator())
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        # The SDK's atexit hook does not run in worker processes.
        Finalize(None, self._provider.shutdown, exitpriority=10)
        self._tracer = self._provider.get_tracer("flask_redis_counter")

    def flush(self) -> None:
        """Export all finished spans now."""
        self._provider.force_flush()

    def record_request(
        self,
        method: str,
        route: str | None,
        path: str,
        status: int,
        started_at: float,
        header: Callable[[str], str | None],
        failure: Exception | None = None,
    ) -> None:
        """Record the span of a request that was answered.

        :param route: the URL rule that matched; None: no rule matched.
        :param started_at: its arrival, by :func:`time.perf_counter`.
        :param header: returns a request header by name.
        """
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        now = time.time_ns()
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "url.path": path,
            "http.response.status_code": status,
        }
        if route is not None:
            attributes["http.route"] = route
        span = self._tracer.start_span(
            f"{method} {route}" if route else method,
            extract({name: value for name in TRACE_HEADERS if (value := header(name))}),
            SpanKind.SERVER,
            attributes,
            start_time=now - int((time.perf_counter() - started_at) * 1e9),
        )
        if status >= 500:
            span.set_attribute("error.type", type(failure).__name__ if failure else str(status))
            span.set_status(Status(StatusCode.ERROR, str(failure) if failure else None))
        span.end(now)
