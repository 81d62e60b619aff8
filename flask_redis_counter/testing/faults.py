"""Faults, as context managers that always heal and never swallow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .stack import Stack


@contextmanager
def stopped(stack: Stack, service: str) -> Iterator[None]:
    """Stop a service for a while: its port refuses."""
    try:
        stack.stop(service)
        yield
    finally:
        stack.start(service)


@contextmanager
def killed(stack: Stack, service: str) -> Iterator[None]:
    """Kill a service, and start it again afterwards."""
    try:
        stack.kill(service)
        yield
    finally:
        stack.start(service)


@contextmanager
def paused(stack: Stack, service: str) -> Iterator[None]:
    """Freeze a service for a while: it accepts nothing and answers nothing."""
    try:
        stack.pause(service)
        yield
    finally:
        stack.unpause(service)


@contextmanager
def partitioned(stack: Stack, service: str) -> Iterator[None]:
    """Cut a service off the network for a while: packets vanish, names may not resolve."""
    try:
        stack.cut(service)
        yield
    finally:
        stack.mend(service)
