"""Export and import of whole counters."""

from .importing import ImportStatus, OnConflict
from .records import CounterRecord, DayRecord, InvalidRecord
from .transfer import ImportResult, Transfer

__all__ = [
    "CounterRecord",
    "DayRecord",
    "ImportResult",
    "ImportStatus",
    "InvalidRecord",
    "OnConflict",
    "Transfer",
]
