"""Stacks to test a counter on, faults to test it with, and clients that remember everything."""

from . import direct
from .chaos import Report, run_chaos
from .checker import Verdict, check
from .clients import Tally, count, hammer
from .compose import ComposeStack
from .fault import Event
from .faults import Faults
from .history import History, Operation
from .nemesis import MakeNemesis, Nemesis
from .process_stack import ProcessStack, Program
from .proxy import Proxy
from .stack import Completed, Entry, Replica, Stack, StackError, StackTimeoutError
from .store import StoreProcess
from .waiting import WaitTimeoutError, wait_until

__all__ = [
    "Completed",
    "ComposeStack",
    "Entry",
    "Event",
    "Faults",
    "History",
    "MakeNemesis",
    "Nemesis",
    "Operation",
    "ProcessStack",
    "Program",
    "Proxy",
    "Replica",
    "Report",
    "Stack",
    "StackError",
    "StackTimeoutError",
    "StoreProcess",
    "Tally",
    "Verdict",
    "WaitTimeoutError",
    "check",
    "count",
    "direct",
    "hammer",
    "run_chaos",
    "wait_until",
]
