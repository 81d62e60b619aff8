"""Route of metrics in Prometheus' formats, summed over all worker processes.

Names and units: https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from importlib.util import find_spec
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from ...counting.metrics import BATCH_SIZES, DURATIONS, MetricsSnapshot
from ...errors import SpoolError, StoreError
from ...extension.state import ExtensionState, current_state
from ..bearer_key import require_key
from ..problems import problem_response

if TYPE_CHECKING:
    from prometheus_client import Metric

#: Media types of the two formats.
PLAIN = "text/plain"
OPENMETRICS = "application/openmetrics-text"

blueprint = Blueprint("metrics", __name__)


@lru_cache(maxsize=1)
def metrics_available() -> bool:
    """Return whether prometheus-client is installed."""
    return find_spec("prometheus_client") is not None


@blueprint.get("/metrics")
def metrics() -> Response:
    """Return the metrics, even while the store cannot be reached (``counter_store_up``)."""
    if not current_state().config.metrics:
        raise NotFound("Metrics are turned off: COUNTER_METRICS is false.")
    if (token := current_state().config.metrics_token) is not None:
        require_key(token, "COUNTER_METRICS_TOKEN", "metrics")
    if not metrics_available():
        detail = "Metrics need prometheus-client: pip install 'flask-redis-counter[server]'."
        return problem_response(HTTPStatus.NOT_IMPLEMENTED, detail)
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    registry = CollectorRegistry()
    registry.register(_Collector(current_state()))
    return Response(
        encode(registry), content_type=content_type, headers={"Cache-Control": "no-store"}
    )


class _Collector:
    def __init__(self, state: ExtensionState) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        yield _gauge(
            "info", "Version of flask-redis-counter.", 1, version=version("flask-redis-counter")
        )
        yield from self._hits()
        yield from self._store()
        if self._state.counter.spool is not None:
            yield from self._spool()

    def _hits(self) -> Iterator[Metric]:
        snapshot = self._state.counter.metrics.snapshot()
        yield _counter(
            "hits",
            "Hits by outcome: counted; replayed, counted before under the same key; skipped, the "
            "visitor was counted within COUNTER_VISITOR_WINDOW; not_counted; unknown, no reply "
            "came; spooled, written to disk to be counted later.",
            *(({"outcome": outcome}, count) for outcome, count in snapshot.outcomes.items()),
        )
        yield _counter(
            "added", "Sum of the amounts of hits that were counted.", snapshot.amount_total
        )
        yield _histogram(
            "hit_duration_seconds",
            "Seconds from the arrival of a hit in the process to its outcome.",
            DURATIONS,
            snapshot.durations,
            snapshot.duration_total,
        )
        yield _histogram(
            "batch_hits",
            "Hits per successful round trip.",
            BATCH_SIZES,
            snapshot.batch_sizes,
            snapshot.batched_hits,
        )
        yield _counter(
            "round_trips_failed",
            "Failed round trips. They were retried if there was time.",
            snapshot.failed_round_trips,
        )
        yield from self._journal(snapshot)
        if self._state.counter.spool is not None:
            yield _counter(
                "spool_counted",
                "Hits that were counted after waiting in the spool.",
                snapshot.replayed_hits,
            )
            yield _counter("spool_added", "Sum of their amounts.", snapshot.replayed_amount)

    def _journal(self, snapshot: MetricsSnapshot) -> Iterator[Metric]:
        yield _gauge(
            "journal_entries",
            "Acknowledged batches that the store may still lose.",
            snapshot.journal_entries,
        )
        yield _gauge(
            "journal_age_seconds",
            "Seconds since the oldest of them was acknowledged.",
            snapshot.journal_age,
        )
        yield _counter(
            "journal_reconciliations",
            "Times that batches were sent again, after a failover or a restart of the store.",
            snapshot.reconciliations,
        )
        yield _counter(
            "journal_resent_hits",
            "Hits in these batches; those that the store had not lost did not count again.",
            snapshot.resent_hits,
        )
        yield _counter(
            "journal_dropped_hits",
            "Hits that were dropped from a full journal: a failover may lose them.",
            snapshot.dropped_hits,
        )

    def _store(self) -> Iterator[Metric]:
        started_at = time.perf_counter()
        try:
            self._state.counter.ping()
        except StoreError:
            yield _gauge("store_up", "Whether the store answers.", 0)
            return
        duration = time.perf_counter() - started_at
        yield _gauge("store_up", "Whether the store answers.", 1)
        yield _gauge("store_answer_seconds", "Response time of a PING to the store.", duration)
        try:
            info = self._state.counter.store_info()
        except StoreError:
            return  # the service has no right to INFO
        yield _gauge(
            "store_info",
            "Server and version of the store.",
            1,
            server=info.server,
            version=info.version,
        )
        yield _gauge("store_uptime_seconds", "Uptime of the store.", info.uptime)
        yield _gauge("store_clients", "Client connections of the store.", info.clients)
        yield _gauge("store_memory_bytes", "Memory that the store uses.", info.memory)
        if info.memory_limit is not None:
            help_text = "Memory that the store may use."
            yield _gauge("store_memory_limit_bytes", help_text, info.memory_limit)
        yield _gauge(
            "store_append_only", "Whether the store has an append-only file.", info.append_only
        )
        writes = info.append_only_ok and info.saved_ok
        yield _gauge(
            "store_persistence_ok",
            "Whether the last writes of the store to disk succeeded.",
            writes,
        )

    def _spool(self) -> Iterator[Metric]:
        try:
            waiting = self._state.counter.spool.pending_hits() if self._state.counter.spool else 0
        except SpoolError:
            yield _gauge("spool_ok", "Whether the spool can be read.", 0)
        else:
            yield _gauge("spool_ok", "Whether the spool can be read.", 1)
            yield _gauge("spool_hits", "Hits in the spool.", waiting)


def _counter(name: str, help_text: str, *values: Any) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    labelled = values if isinstance(values[0], tuple) else (({}, values[0]),)
    family = CounterMetricFamily(f"counter_{name}", help_text, labels=list(labelled[0][0]))
    for labels, value in labelled:
        family.add_metric(list(labels.values()), value)
    return family


def _gauge(name: str, help_text: str, value: float, **labels: str) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"counter_{name}", help_text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _histogram(
    name: str, help_text: str, bounds: Sequence[float], counts: Sequence[int], total: float
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    labels = [*map(str, map(float, bounds)), "+Inf"]
    buckets = list(zip(labels, accumulate(counts), strict=True))
    return HistogramMetricFamily(f"counter_{name}", help_text, buckets=buckets, sum_value=total)
