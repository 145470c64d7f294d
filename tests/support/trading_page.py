"""The trading page in a real browser, as its users have it, and others who trade beside them over REST.

    with chromium() as browser, visiting(browser, stack.http, DESKTOP) as visit:
        visit.choose(market.symbol, account="anna")
        visit.fill(side="buy", price="100", quantity="2")
        visit.submit()

A visit that ends has said nothing on its console and talked to nobody but the exchange; otherwise it raises.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, WebSocket, expect

from tools.browser import Screen, Theme, new_context

AXE = Path(__file__).parents[1] / "web" / "node_modules" / "axe-core" / "axe.min.js"
SECONDS = 60
expect.set_options(timeout=1000 * SECONDS)


def own_symbol() -> str:
    return f"WEB-{secrets.token_hex(3)}".upper()


@dataclass
class Market:
    """An instrument of the test's own, and somebody who trades it over REST."""

    http: str
    symbol: str = field(default_factory=own_symbol)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ask("PUT", f"/instruments/{self.symbol}", {"tick_size": "0.05", "lot_size": "0.001"})

    def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = httpx.request(method, self.http + path, json=body, headers=self.headers, timeout=30, trust_env=False)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json()

    def place(self, side: str, price: str, quantity: str = "1", **more: Any) -> Any:
        terms = {"side": side, "price": price, "quantity": quantity, "account": "others"}
        return self.ask("POST", "/orders", {"symbol": self.symbol, **terms, **more})

    def orders(self, account: str) -> list[Any]:
        found: list[Any] = self.ask("GET", f"/orders?account={account}&symbol={self.symbol}")["items"]
        return found

    def order(self, account: str) -> Any:
        """The only one that this account has placed."""
        [found] = self.orders(account)
        return found

    def depth(self, levels: int = 50) -> dict[str, list[list[str]]]:
        found = self.ask("GET", f"/market/{self.symbol}/depth?levels={levels}")
        return {side: found[side] for side in ("bids", "asks")}


@dataclass
class Visit:
    """`expected`: what may stand on the console, as patterns. `asked`: every request of the page for data."""

    page: Page
    problems: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    """Host and port of everything that the page has talked to."""

    def note_console(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.problems.append(said.text)

    def note_request(self, request: Request) -> None:
        self._note_place(request.url)
        self.asked.append((request.method, urlsplit(request.url).path))

    def note_socket(self, socket: WebSocket) -> None:
        self._note_place(socket.url)

    def _note_place(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob"):
            self.places.add(parts.netloc)

    @property
    def unexpected(self) -> list[str]:
        return [said for said in self.problems if not any(re.search(each, said) for each in self.expected)]

    # What there is to see

    def at(self, name: str) -> Locator:
        """The part of the page with this id."""
        return self.page.locator(f"#{name}")

    def level(self, side: str, price: str) -> Locator:
        """The row of the ladder of this side (bid, ask) with this price."""
        return self.page.locator(f"#ladder [data-side={side}][data-price='{price}']")

    def ladder(self, side: str) -> list[tuple[str, str]]:
        """Price and quantity of each row, as the page has them, the best first."""
        found: list[list[str]] = self.page.evaluate(
            """side => [...document.querySelectorAll(`#ladder [data-side=${side}][data-price]`)]
                .map(row => [row.dataset.price, row.querySelector(".size").textContent])""",
            side,
        )
        return sorted(((price, size) for price, size in found), key=lambda each: float(each[0]), reverse=side == "bid")

    def control(self, name: str) -> Locator:
        return self.page.locator(f"#order-form [name={name}]")

    def submit_button(self) -> Locator:
        return self.page.locator("#order-form [type=submit]")

    def message(self) -> Locator:
        return self.at("order-message")

    def open_order(self, order_id: int | str) -> Locator:
        return self.page.locator(f"#open-orders [data-order-id='{order_id}']")

    def last_bar(self) -> Any:
        """The newest candle that the chart has."""
        return self.page.evaluate("window.pricetime.candles.last")

    # What is done

    def choose(self, symbol: str, account: str | None = None) -> None:
        """Return when the page shows this instrument, live."""
        self.page.locator(f"#symbol option[value='{symbol}']").wait_for(state="attached")
        self.at("symbol").select_option(symbol)
        if account is not None:
            self.trade_for(account)
        self.wait_until("live")

    def trade_for(self, account: str) -> None:
        self.at("account").fill(account)
        self.at("account").press("Enter")

    def clear_form(self) -> None:
        """Nothing is left of the order before, whatever the type of the next."""
        self.page.evaluate("document.getElementById('order-form').reset()")
        self.control("type").dispatch_event("change")

    def wait_until(self, state: str) -> None:
        """Of the connection: live, stale, resyncing or offline."""
        expect(self.at("connection")).to_have_attribute("data-state", state)

    def fill(self, *, side: str | None = None, type: str | None = None, **values: Any) -> None:
        """Type and side first, as other controls depend on them; True and False tick and untick."""
        if type is not None:
            self.control("type").select_option(type)
        if side is not None:
            self.page.locator(f"#order-form label:has([name=side][value={side}])").first.click()
        for name, value in values.items():
            control = self.control(name)
            if isinstance(value, bool):
                control.set_checked(value)
            elif control.evaluate("each => each.tagName") == "SELECT":
                control.select_option(value)
            else:
                control.fill(value)

    def submit(self) -> None:
        self.submit_button().click()

    def press(self, key: str) -> None:
        """Of the page, not of a field that has the focus."""
        self.page.keyboard.press("Escape")
        self.page.keyboard.press(key)

    # What is judged

    def serious_findings(self) -> list[str]:
        """What axe-core finds of impact serious or critical, a line each."""
        assert AXE.exists(), "axe-core is not installed; run `make node`"
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert found["passes"], "axe looked at nothing"
        return [
            f"{each['impact']}: {each['id']}: {node['target']}: {json.dumps(node['any'] or node['all'])[:300]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]


@contextmanager
def visiting(browser: Browser, http: str, screen: Screen, theme: Theme = "light", path: str = "/") -> Iterator[Visit]:
    context = new_context(browser, screen, theme, reduced_motion="reduce", timezone_id="UTC")
    try:
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        visit = Visit(page)
        page.on("console", visit.note_console)
        page.on("pageerror", lambda error: visit.problems.append(str(error)))
        page.on("request", visit.note_request)
        page.on("websocket", visit.note_socket)
        page.goto(http + path)
        yield visit
        assert visit.unexpected == [], f"the page said: {visit.unexpected}"
    finally:
        context.close()


def eventually(page: Page, condition: Callable[[], bool], what: str) -> None:
    """Wait for what no locator can be asked about, while the page goes on."""
    for _ in range(50 * SECONDS):
        if condition():
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"in {SECONDS} s not: {what}")
