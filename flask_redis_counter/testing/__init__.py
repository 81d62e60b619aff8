"""Stacks to test a counter on, faults to test it with, and clients that remember everything."""

from . import direct
from .faults.fault import Event
from .faults.faults import Faults
from .faults.nemesis import MakeNemesis, Nemesis
from .stacks.compose import ComposeStack
from .stacks.process_stack import ProcessStack, Program
from .stacks.proxy import Proxy
from .stacks.redis_server import StoreProcess
from .stacks.stack import Completed, Entry, Replica, Stack, StackError, StackTimeoutError
from .waiting import WaitTimeoutError, wait_until
from .workload.chaos import Report, run_chaos
from .workload.checker import Verdict, check
from .workload.clients import Tally, count, hammer
from .workload.history import History, Operation

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
