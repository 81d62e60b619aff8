"""Test harness: stacks of services, faults, load clients, and a consistency checker."""

from . import direct
from .faults.fault import Event
from .faults.faults import Faults
from .faults.nemesis import Nemesis, NemesisFactory
from .stacks.cluster_group import ClusterGroup, ClusterNode
from .stacks.command import CommandResult
from .stacks.compose import ComposeStack
from .stacks.errors import StackError, StackTimeoutError
from .stacks.process_stack import ProcessStack, Program
from .stacks.proxy import Proxy
from .stacks.redis_server import RedisServerProcess
from .stacks.replica import Replica
from .stacks.sentinel_group import SentinelGroup
from .stacks.stack import Endpoint, Stack
from .waiting import WaitTimeoutError, wait_until
from .workload.chaos import Report, run_chaos
from .workload.checker import CheckResult, check
from .workload.clients import Tally, run_load, send_hit
from .workload.history import History, Op

__all__ = [
    "CheckResult",
    "ClusterGroup",
    "ClusterNode",
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
    "SentinelGroup",
    "Stack",
    "StackError",
    "StackTimeoutError",
    "Tally",
    "WaitTimeoutError",
    "check",
    "direct",
    "run_chaos",
    "run_load",
    "send_hit",
    "wait_until",
]
