"""Spans of requests, for OpenTelemetry: each continues the trace that its request is part of.

A span has the route and the outcome, and nobody's address. Where spans go, the variables of
OpenTelemetry say (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME`` …):
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from multiprocessing.util import Finalize
from typing import Any

#: The headers that say what a request is part of.
HEADERS = ("traceparent", "tracestate", "baggage")

#: What OpenTelemetry is told that a service is called, where OTEL_SERVICE_NAME does not say.
SERVICE = "flask-redis-counter"


class Tracer:
    """Sends the spans of this process, from a thread."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import IdGenerator

        named = Resource({"service.name": SERVICE}).merge(OTELResourceDetector().detect())

        class Ids(IdGenerator):
            # The SDK's own are Python's random numbers, which a copied process has as well.
            def generate_trace_id(self) -> int:
                return secrets.randbits(128) or 1

            def generate_span_id(self) -> int:
                return secrets.randbits(64) or 1

        resource = Resource.create().merge(named)
        self._provider = TracerProvider(resource=resource, id_generator=Ids())
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        # The SDK's own is not called in worker processes, which end without atexit.
        Finalize(None, self._provider.shutdown, exitpriority=10)
        self._tracer = self._provider.get_tracer("flask_redis_counter")

    def flush(self) -> None:
        """Send at once what waits to be sent."""
        self._provider.force_flush()

    def add(
        self,
        method: str,
        route: str | None,
        path: str,
        status: int,
        began: float,
        header: Callable[[str], str | None],
        failure: Exception | None = None,
    ) -> None:
        """Add the span of a request that was answered.

        :param route: the pattern that its path is of; None: of none.
        :param began: when it came, by :func:`time.perf_counter`.
        :param header: returns its headers.
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
            extract({name: value for name in HEADERS if (value := header(name))}),
            SpanKind.SERVER,
            attributes,
            start_time=now - int((time.perf_counter() - began) * 1e9),
        )
        if status >= 500:
            span.set_attribute("error.type", type(failure).__name__ if failure else str(status))
            span.set_status(Status(StatusCode.ERROR, str(failure) if failure else None))
        span.end(now)
