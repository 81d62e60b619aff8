"""Statistics: metrics of hits, overviews of counters, facts about the store, unique visitors."""

from .counting.journal import JournalState
from .counting.metrics import HitMetrics, MetricsSnapshot
from .counting.visitors import VisitorCache
from .store.info import StoreInfo
from .store.overview import CounterSummary, Overview

__all__ = [
    "CounterSummary",
    "HitMetrics",
    "JournalState",
    "MetricsSnapshot",
    "Overview",
    "StoreInfo",
    "VisitorCache",
]
