"""Stacks to test a counter on, faults to test it with, and clients that remember everything."""

from .chaos import Report, run_chaos
from .checker import Verdict, check
from .clients import Tally, count, hammer
from .compose import ComposeStack
from .faults import killed, partitioned, paused, stopped
from .history import History, Operation
from .process import ProcessStack, StoreProcess
from .stack import Stack, StackError
from .waiting import WaitTimeoutError, wait_until

__all__ = [
    "ComposeStack",
    "History",
    "Operation",
    "ProcessStack",
    "Report",
    "Stack",
    "StackError",
    "StoreProcess",
    "Tally",
    "Verdict",
    "WaitTimeoutError",
    "check",
    "count",
    "hammer",
    "killed",
    "partitioned",
    "paused",
    "run_chaos",
    "stopped",
    "wait_until",
]
