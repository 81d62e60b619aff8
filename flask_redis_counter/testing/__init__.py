"""Stacks to test a counter on, faults to test it with, and clients that remember everything."""

from . import direct
from .faults.fault import Event
from .faults.faults import Faults
from .faults.nemesis import Nemesis, NemesisFactory
from .stacks.compose import ComposeStack
from .stacks.process_stack import ProcessStack, Program
from .stacks.proxy import Proxy
from .stacks.redis_server import RedisServerProcess
from .stacks.stack import CommandResult, Endpoint, Replica, Stack, StackError, StackTimeoutError
from .waiting import WaitTimeoutError, wait_until
from .workload.chaos import Report, run_chaos
from .workload.checker import CheckResult, check
from .workload.clients import Tally, count, run_load
from .workload.history import History, Op

__all__ = [
    "CheckResult",
    "CommandResult",
    "ComposeStack",
    "Endpoint",
    "Event",
    "Faults",
    "History",
    "Nemesis",
    "NemesisFactory",
    "Op",
    "ProcessStack",
    "Program",
    "Proxy",
    "RedisServerProcess",
    "Replica",
    "Report",
    "Stack",
    "StackError",
    "StackTimeoutError",
    "Tally",
    "WaitTimeoutError",
    "check",
    "count",
    "direct",
    "run_chaos",
    "run_load",
    "wait_until",
]
