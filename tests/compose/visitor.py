"""Somebody who looks at the trading page in a browser, wherever that is served."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page

from tests.compose.exchange import expect
from tools.browser import DESKTOP, chromium, new_context

_PATIENCE_MILLISECONDS = 60_000


class Visitor:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._errors: list[str] = []
        page.on("pageerror", lambda error: self._errors.append(str(error)))

    def sees_live(self) -> None:
        """That it is connected to the WebSocket, for which the page's own policy has to allow the address."""
        self._page.wait_for_selector('#connection[data-state="live"]', timeout=_PATIENCE_MILLISECONDS)
        expect(not self._errors, "no error on the page", self._errors)

    def sees_trade(self, price: str) -> None:
        self._page.wait_for_selector(f"#tape >> text={price}", timeout=_PATIENCE_MILLISECONDS)


@contextmanager
def visiting(origin: str) -> Iterator[Visitor]:
    """Certificates are not looked at: the test's own client does that."""
    with chromium() as browser:
        page = new_context(browser, DESKTOP, ignore_https_errors=True).new_page()
        visitor = Visitor(page)
        page.goto(origin)
        visitor.sees_live()
        yield visitor
