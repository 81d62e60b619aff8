"""Fixtures: the browser, the stacks that it visits, and windows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flask_redis_counter.testing import Stack
from flask_redis_counter.testing.reporting import report_logs

from ..e2e.conftest import process_stack
from .window import Window

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Screenshots of each page, for review.
PICTURES = Path(__file__).parents[2] / "artifacts" / "browser"

OpenWindow = Callable[..., Window]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless; the session `browser` has found it."""
    playwright_api = pytest.importorskip("playwright.sync_api")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium: install it, or set CHROMIUM to where it is")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """One stack for all pages; no test leaves it with a fault."""
    with process_stack() as stack:
        yield stack


@pytest.fixture
def spooling_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack that spools hits during an outage."""
    settings = {"COUNTER_ON_OUTAGE": "spool", "COUNTER_SPOOL_DIR": "{data}/spool"}
    with process_stack(settings=settings) as made:
        report_logs(request.node, made)
        yield made


@pytest.fixture
def open_window(browser: Browser) -> Iterator[OpenWindow]:
    """Open windows on a stack; after the test, check that none has an error."""
    with ExitStack() as closing:
        windows: list[Window] = []

        def make(stack: Stack, *, scheme: str = "light", width: int = 1280) -> Window:
            context = browser.new_context(
                base_url=stack.url(),
                color_scheme="dark" if scheme == "dark" else "light",
                viewport={"width": width, "height": 844},
                reduced_motion="reduce",
            )
            closing.callback(context.close)
            windows.append(Window(context.new_page()))
            return windows[-1]

        yield make
        assert [error for window in windows for error in window.errors] == []
