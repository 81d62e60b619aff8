"""A browser window that records errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from flask_redis_counter.testing import Stack, send_hit

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Request, Response

#: Measures the rendered page.
MEASURE_SCRIPT = Path(__file__).with_name("look.js").read_text("utf-8")


def connect_all(stack: Stack) -> None:
    """Give every worker of the service a connection to the store.

    A worker without one knows, when the store stops answering, that nothing was counted. Pages use
    other connections than programs' hits.
    """
    for _ in range(20):
        assert send_hit(stack.url(), counter="other").values
        assert requests.get(f"{stack.url()}/readyz", timeout=5).ok


class Window:
    """A window that visits pages and records their errors.

    :ivar page: Playwright's page.
    :ivar status: the status of the last visit.
    :ivar errors: errors on the console, exceptions, and failed requests.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.status = 0
        self.errors: list[str] = []
        page.on("console", self._record_console)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("requestfailed", self._record_failure)
        page.on("response", self._record_response)

    def visit(self, path: str) -> Window:
        """Go to a path of the stack, and wait until the page is loaded."""
        self.page.goto(path, wait_until="load")
        return self

    def reload(self) -> Window:
        """Reload the page."""
        self.page.reload(wait_until="load")
        return self

    def click(self, name: str) -> Window:
        """Follow the link of this name, and wait until the next page is loaded."""
        self.page.get_by_role("link", name=name).click()
        self.page.wait_for_load_state("load")
        return self

    @property
    def heading(self) -> str:
        """The page's heading."""
        return self.page.locator("h1").inner_text()

    @property
    def text(self) -> str:
        """The page's text."""
        return self.page.locator("main").inner_text()

    @property
    def number(self) -> int:
        """The number that the page shows."""
        return int(self.page.locator("data.number").inner_text().replace(",", ""))

    def look(self) -> dict[str, Any]:
        """Return measurements of the rendered page; see look.js."""
        measurements: dict[str, Any] = self.page.evaluate(MEASURE_SCRIPT)
        return measurements

    def picture(self, path: Path) -> None:
        """Take a screenshot of the whole page."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=True)

    def _record_response(self, response: Response) -> None:
        if response.request.is_navigation_request():
            self.status = response.status
        elif response.status >= 400:
            self.errors.append(f"{response.status} {response.url}")

    def _record_failure(self, request: Request) -> None:
        if request.failure == "net::ERR_ABORTED":
            return  # the window went to the next page: loading does not wait for the icon
        self.errors.append(f"{request.failure} {request.url}")

    def _record_console(self, message: ConsoleMessage) -> None:
        # Chromium logs this for a 404 or 503 page; the tests check `status`.
        own = message.text.startswith("Failed to load resource: the server responded with")
        if own and message.location["url"] == self.page.url:
            return
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")
