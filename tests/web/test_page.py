"""The trading page in Chromium against the running exchange: what people do there, and what they must see of it.

Goal: whoever trades in the browser sees the truth, at a desk and on a phone. Method: real clicks and keys; what the
page shows is held against what REST says. A visit fails by itself when anything stands on the console that should not.
"""

import asyncio
import random
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from bench.page_load import Sent, Wandering, prepare, send
from tests.support.stack import Stack
from tests.support.trading_page import Market, Visit, eventually, own_symbol, visiting
from tools.browser import DESKTOP, PHONE, TABLET, Metrics, Screen, Theme, chromium

pytestmark = pytest.mark.stack

SCREENS = pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def market(stack: Stack) -> Market:
    """With a book: 101.00 and 102.00 are offered, 99.00 and 98.00 bid, one each at 1 and one at 2."""
    made = Market(stack.http)
    for side, price, quantity in (("sell", "101", "1"), ("sell", "102", "2"), ("buy", "99", "1"), ("buy", "98", "2")):
        made.place(side, price, quantity)
    return made


@pytest.fixture
def account() -> str:
    return f"web-{secrets.token_hex(3)}"


@SCREENS
def test_an_order_is_placed_amended_and_canceled(
    browser: Browser, market: Market, account: str, screen: Screen
) -> None:
    with visiting(browser, market.http, screen) as visit:
        visit.choose(market.symbol, account)
        visit.fill(side="buy", type="limit", price="100.00", quantity="1.5")
        visit.submit()
        expect(visit.level("bid", "100.00")).to_be_visible()
        expect(visit.level("bid", "100.00").locator(".size")).to_contain_text("1.5")
        order = market.order(account)
        assert (order["price"], order["quantity"], order["side"], order["status"]) == ("100.00", "1.500", "buy", "open")
        expect(visit.message()).to_contain_text(str(order["order_id"]))
        expect(visit.at("latency")).to_contain_text("ms")

        row = visit.open_order(order["order_id"])
        row.get_by_role("button", name="Amend").click()
        row.locator("[name=price]").fill("99.50")
        row.locator("[name=quantity]").fill("0.5")
        row.get_by_role("button", name="Save").click()
        expect(visit.level("bid", "99.50").locator(".size")).to_contain_text("0.5")
        expect(visit.level("bid", "100.00")).to_have_count(0)
        amended = market.order(account)
        assert (amended["price"], amended["quantity"], amended["status"]) == ("99.50", "0.500", "open")

        row.get_by_role("button", name="Cancel").click()
        expect(row).to_have_count(0)
        expect(visit.level("bid", "99.50")).to_have_count(0)
        assert market.order(account)["status"] == "canceled"


@SCREENS
def test_both_prices_of_a_stop_limit_order_can_be_amended(
    browser: Browser, market: Market, account: str, screen: Screen
) -> None:
    stop = {"type": "stop_limit", "stop_price": "110", "price": "111", "account": account}
    order = market.ask("POST", "/orders", {"symbol": market.symbol, "side": "buy", "quantity": "1", **stop})
    with visiting(browser, market.http, screen) as visit:
        visit.choose(market.symbol, account)
        row = visit.open_order(order["order_id"])
        row.get_by_role("button", name="Amend").click()
        for name, value in (("price", "112.50"), ("stop_price", "111.50"), ("quantity", "2")):
            row.locator(f"[name={name}]").click()  # which needs it to be in sight
            row.locator(f"[name={name}]").fill(value)
        visit.page.keyboard.press("Enter")
        expect(row.get_by_role("button", name="Amend")).to_be_visible()
        amended = market.order(account)
        assert (amended["price"], amended["stop_price"], amended["quantity"]) == ("112.50", "111.50", "2.000")
        expect(row.locator(".price")).to_contain_text("if ≥ 111.50")


@SCREENS
def test_a_trade_shows_everywhere_at_once(browser: Browser, market: Market, account: str, screen: Screen) -> None:
    market.place("sell", "101.50", "1")
    market.place("buy", "101.50", "0.25")  # takes from 101.00: there is a last price and a candle to move
    with visiting(browser, market.http, screen) as visit:
        visit.choose(market.symbol, account)
        expect(visit.level("ask", "101.00").locator(".size")).to_contain_text("0.75")
        eventually(visit.page, lambda: close_of(visit) == 101.0, "a candle of the first trade")
        depth, candles = settled(visit, "depth-chart"), settled(visit, "candles")

        visit.fill(side="buy", type="market", quantity="1.25")
        visit.submit()

        newest = visit.at("tape").locator(":scope > *").first
        expect(newest).to_contain_text("101.50")
        expect(newest).to_contain_text("0.5")
        expect(visit.level("ask", "101.00")).to_have_count(0)
        expect(visit.level("ask", "101.50").locator(".size")).to_contain_text("0.5")
        expect(visit.at("fills")).to_contain_text("101.50")
        expect(visit.at("fills")).to_contain_text("0.75")
        eventually(visit.page, lambda: close_of(visit) == 101.5, "the candle of the trade")
        eventually(visit.page, lambda: visit.at("candles").screenshot() != candles, "the candle moves")
        eventually(visit.page, lambda: visit.at("depth-chart").screenshot() != depth, "the depth chart is drawn anew")
        assert market.order(account)["status"] == "filled"


def settled(visit: Visit, name: str) -> bytes:
    """A picture of this part when nothing moves in it."""
    pictures = [b""]

    def is_still() -> bool:
        visit.page.wait_for_timeout(150)
        pictures.append(visit.at(name).screenshot())
        return pictures[-1] == pictures[-2]

    eventually(visit.page, is_still, f"{name} stands still")
    return pictures[-1]


def close_of(visit: Visit) -> float | None:
    bar = visit.last_bar()
    return None if bar is None else float(bar["close"])


def test_the_ladder_is_the_book(browser: Browser, market: Market) -> None:
    """Levels come, change and go, by ones and by many, and what is shown is what REST says."""
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol)
        orders = [market.place("sell", f"{103 + n / 20:.2f}", "3") for n in range(12)]
        market.place("buy", "97.95", "4.5")
        market.ask("DELETE", f"/orders/{orders[3]['order_id']}")
        market.place("buy", "101", "0.4")
        depth = market.depth()
        for side, name in (("bid", "bids"), ("ask", "asks")):
            told = [(price, float(quantity)) for price, quantity in depth[name]]

            def shown(side: str = side) -> list[tuple[str, float]]:
                return [(price, float(size.replace(",", ""))) for price, size in visit.ladder(side)]

            eventually(visit.page, lambda told=told, shown=shown: shown() == told[: len(shown())] != [], f"{told}")  # type: ignore[misc]
            assert len(shown()) >= min(len(told), 10)


def test_grouping_adds_up_levels(browser: Browser, market: Market) -> None:
    market.place("buy", "98.95", "0.5")
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol)
        expect(visit.level("bid", "98.95")).to_be_visible()
        widest = visit.at("grouping").locator("option").last.get_attribute("value")
        finest = visit.at("grouping").locator("option").first.get_attribute("value")
        assert widest is not None
        assert finest is not None
        rows = len(visit.ladder("bid"))
        visit.at("grouping").select_option(widest)
        eventually(visit.page, lambda: len(visit.ladder("bid")) < rows, "fewer, wider levels")
        assert sum(float(size) for _, size in visit.ladder("bid")) == 3.5
        assert sum(float(size) for _, size in visit.ladder("ask")) == 3.0
        visit.at("grouping").select_option(finest)
        eventually(visit.page, lambda: len(visit.ladder("bid")) == rows, "every level again")


@SCREENS
def test_a_level_that_is_clicked_fills_the_form(browser: Browser, market: Market, screen: Screen) -> None:
    with visiting(browser, market.http, screen) as visit:
        visit.choose(market.symbol)
        visit.fill(type="limit")
        visit.level("ask", "102.00").click()
        expect(visit.control("price")).to_have_value("102.00")
        visit.level("bid", "98.00").click()
        expect(visit.control("price")).to_have_value("98.00")
        visit.fill(side="buy", type="market", quantity="1")
        expect(visit.at("order-estimate")).to_contain_text("101")
        market.place("sell", "100", "1")
        expect(visit.at("order-estimate")).to_contain_text("100")  # as the book is now


ORDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "post-only limit": ({"type": "limit", "price": "97", "quantity": "1", "post_only": True}, {"post_only": True}),
    "iceberg": (
        {"type": "limit", "price": "97", "quantity": "3", "display_quantity": "1"},
        {"display_quantity": "1.000", "quantity": "3.000"},
    ),
    "immediate or cancel": (
        {"type": "limit", "price": "97", "quantity": "1", "time_in_force": "IOC"},
        {"time_in_force": "IOC", "status": "canceled"},
    ),
    "fill or kill": (
        {"type": "limit", "price": "97", "quantity": "1", "time_in_force": "FOK"},
        {"time_in_force": "FOK", "status": "canceled"},
    ),
    "good till date": (
        {"type": "limit", "price": "97", "quantity": "1", "time_in_force": "GTD", "expires_at": "2099-01-01T12:00:00"},
        {"time_in_force": "GTD", "expires_at": "2099-01-01T12:00:00.000000Z"},
    ),
    "day": ({"type": "limit", "price": "97", "quantity": "1", "time_in_force": "DAY"}, {"time_in_force": "DAY"}),
    "market": ({"type": "market", "quantity": "0.5"}, {"type": "market", "status": "filled"}),
    "market by notional": ({"type": "market", "notional": "50.5"}, {"type": "market", "quantity": "0.500"}),
    "protected market": (
        {"type": "market", "quantity": "2", "protection_price": "101"},
        {"protection_price": "101.00", "filled_quantity": "1.000"},
    ),
    "stop": ({"type": "stop", "stop_price": "110", "quantity": "1"}, {"stop_price": "110.00", "triggered": False}),
    "stop-limit": (
        {"type": "stop_limit", "stop_price": "110", "price": "111", "quantity": "1"},
        {"stop_price": "110.00", "price": "111.00", "type": "stop_limit"},
    ),
}


def test_every_type_of_order_can_be_placed(browser: Browser, market: Market) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol)
        for name, (values, told) in ORDERS.items():
            account = f"web-{secrets.token_hex(3)}"
            visit.trade_for(account)
            visit.clear_form()
            visit.fill(side="buy", **values)
            visit.submit()
            eventually(visit.page, lambda account=account: bool(market.orders(account)), f"an order: {name}")  # type: ignore[misc]
            order = market.order(account)
            assert {key: order[key] for key in told} == told, name
            expect(visit.message()).to_contain_text(str(order["order_id"]))
            if order["status"] == "filled":
                market.place("sell", "101", "0.5")


NOT_POSSIBLE = [
    ("price", "100.03"),
    ("price", "-1"),
    ("price", "1e2"),
    ("price", ""),
    ("quantity", "0.0005"),
    ("quantity", "0"),
    ("quantity", "much"),
    ("display_quantity", "2"),
]


def test_what_cannot_be_is_said_before_it_is_sent(browser: Browser, market: Market, account: str) -> None:
    """Of an order for 1 at 100.00."""
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol, account)
        for control, value in NOT_POSSIBLE:
            visit.clear_form()
            visit.fill(side="buy", type="limit", **({"price": "100", "quantity": "1"} | {control: value}))
            visit.submit()
            expect(visit.control(control)).to_have_attribute("aria-invalid", "true")
            expect(visit.message()).to_have_attribute("role", "alert")
            expect(visit.message()).not_to_be_empty()
        assert ("POST", "/orders") not in visit.asked
        assert market.orders(account) == []


def test_a_refusal_is_told_in_words(browser: Browser, market: Market, account: str) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.expected.append(r"the server responded with a status of 4\d\d")
        visit.choose(market.symbol, account)
        visit.fill(side="buy", type="limit", price="101", quantity="1", post_only=True)
        visit.submit()
        expect(visit.message()).to_contain_text("post", ignore_case=True)
        expect(visit.message()).to_have_attribute("role", "alert")
        assert market.orders(account) == []


def test_an_order_whose_answer_is_lost_is_placed_once(browser: Browser, market: Market, account: str) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.expected.append("net::ERR_CONNECTION_RESET")
        visit.choose(market.symbol, account)
        sent: list[str] = []

        def lose_the_first_answer(route: Route) -> None:
            sent.append(route.request.post_data or "")
            if len(sent) > 1:
                route.continue_()
                return
            route.fetch()
            route.abort("connectionreset")

        visit.page.route("**/orders", lose_the_first_answer)
        visit.fill(side="buy", type="limit", price="98.5", quantity="1")
        visit.submit()
        expect(visit.message()).to_contain_text("is open")
        assert len(sent) == 2
        assert sent[0] == sent[1]
        assert len(market.orders(account)) == 1


def test_each_instrument_has_its_own_book_and_orders(browser: Browser, market: Market, account: str) -> None:
    other = Market(market.http)
    other.place("buy", "55", "7")
    market.place("buy", "97", "1", account=account)
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol, account)
        expect(visit.level("bid", "99.00")).to_be_visible()
        visit.choose(other.symbol)
        expect(visit.level("bid", "55.00").locator(".size")).to_contain_text("7")
        expect(visit.page.locator("#ladder [data-side][data-price]:visible")).to_have_count(1)
        expect(visit.at("asks")).to_have_class(re.compile("empty"))
        other.place("sell", "56", "1")
        expect(visit.level("ask", "56.00")).to_be_visible()


def test_a_halt_is_seen_and_closes_the_form(browser: Browser, market: Market, account: str) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol, account)
        expect(visit.submit_button()).to_be_enabled()
        market.ask("PUT", f"/instruments/{market.symbol}/status", {"status": "halted"})
        expect(visit.submit_button()).to_be_disabled()
        expect(visit.at("instrument-note")).to_contain_text("halted")
        market.ask("PUT", f"/instruments/{market.symbol}/status", {"status": "trading"})
        expect(visit.submit_button()).to_be_enabled()


def test_all_orders_of_the_symbol_are_canceled_at_once(browser: Browser, market: Market, account: str) -> None:
    """More of them than a table should have rows."""
    order = {"symbol": market.symbol, "side": "buy", "quantity": "1", "account": account}
    for step in range(3):
        items = [{"place": {**order, "price": f"{90 - step - n / 20:.2f}"}} for n in range(70)]
        market.ask("POST", "/orders/batch", {"items": items})
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol, account)
        expect(visit.page.locator("#open-orders [data-order-id]")).to_have_count(200)
        expect(visit.at("open-orders-empty")).to_contain_text("200 of 210")
        visit.page.get_by_role("button", name="Cancel all").click()
        expect(visit.page.locator("#open-orders [data-order-id]")).to_have_count(0)
        expect(visit.message()).to_contain_text("210 orders canceled")
        assert {order["status"] for order in market.orders(account)} == {"canceled"}
        expect(visit.level("bid", "99.00")).to_be_visible()  # somebody else's


def test_orders_made_elsewhere_are_seen(browser: Browser, market: Market, account: str) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol, account)
        order = market.place("buy", "98.50", "2", account=account)
        expect(visit.open_order(order["order_id"])).to_be_visible()
        market.place("sell", "98.50", "3")  # meets 99.00 first, then all of it
        expect(visit.open_order(order["order_id"])).to_have_count(0)
        expect(visit.at("fills")).to_contain_text("98.50")


def test_everything_can_be_done_from_the_keyboard(browser: Browser, market: Market, account: str) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol, account)
        visit.press("?")
        expect(visit.at("help")).to_be_visible()
        visit.page.keyboard.press("Escape")
        expect(visit.at("help")).to_be_hidden()
        visit.fill(side="buy", type="limit", price="97.50")
        visit.control("quantity").focus()
        visit.page.keyboard.insert_text("2")
        visit.page.keyboard.press("Enter")
        eventually(visit.page, lambda: bool(market.orders(account)), "Enter sends the order")
        row = visit.open_order(market.order(account)["order_id"])
        row.get_by_role("button", name="Cancel").focus()
        visit.page.keyboard.press("Enter")
        expect(row).to_have_count(0)


@pytest.mark.parametrize("screen", [DESKTOP, TABLET, PHONE], ids=["desktop", "tablet", "phone"])
def test_nothing_sticks_out_of_the_screen(browser: Browser, market: Market, account: str, screen: Screen) -> None:
    """However long names and figures are; and of prices no digit is left out."""
    long = {"symbol": f"A-long_name-{secrets.token_hex(6)}", "account": account}
    steps = {"tick_size": "0.00000001", "lot_size": "0.001", "max_quantity": "900000000"}
    market.ask("PUT", f"/instruments/{long['symbol']}", steps)
    for side, price in (("buy", "8999999.12345678"), ("sell", "9000000.12345678"), ("buy", "9000000.12345678")):
        market.ask("POST", "/orders", {**long, "side": side, "price": price, "quantity": "123456789.123"})
    with visiting(browser, market.http, screen) as visit:
        visit.choose(long["symbol"], account)
        price = visit.level("bid", "8999999.12345678").locator(".price")
        expect(price).to_be_visible()
        expect(visit.page.locator("#open-orders [data-order-id]")).to_be_visible()
        assert visit.page.evaluate("document.scrollingElement.scrollWidth") <= screen.width
        for each in (price, visit.at("tape").locator(".price"), visit.at("last-price")):
            assert each.evaluate("each => each.scrollWidth <= each.clientWidth || each.clientWidth === 0")


def test_light_and_dark_are_remembered(browser: Browser, market: Market) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        colour = "getComputedStyle(document.body).backgroundColor"
        visit.choose(market.symbol)
        light = visit.page.evaluate(colour)
        visit.at("theme").click()
        eventually(visit.page, lambda: visit.page.evaluate(colour) != light, "another colour")
        dark = visit.page.evaluate(colour)
        visit.page.reload()
        eventually(visit.page, lambda: visit.page.evaluate(colour) == dark, "the colour that was chosen")


@SCREENS
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, market: Market, account: str, screen: Screen, theme: Theme
) -> None:
    """With orders, fills, a message and an order being amended on the page; then with the help open."""
    market.place("buy", "97", "1", account=account)
    market.place("sell", "98.95", "0.5", account=account)
    with visiting(browser, market.http, screen, theme) as visit:
        visit.choose(market.symbol, account)
        visit.fill(side="buy", type="limit", price="100.03", quantity="1")
        visit.submit()
        visit.page.locator("#open-orders").get_by_role("button", name="Amend").first.click()
        assert visit.serious_findings() == []
        visit.press("?")
        expect(visit.at("help")).to_be_visible()
        assert visit.serious_findings() == []


OTHERS: list[tuple[Screen, Theme]] = [(DESKTOP, "light"), (PHONE, "dark")]


@pytest.mark.parametrize("path", ["/about", "/docs/errors"])
def test_axe_finds_nothing_serious_on_our_other_pages(browser: Browser, stack: Stack, path: str) -> None:
    for screen, theme in OTHERS:
        with visiting(browser, stack.http, screen, theme, path) as visit:
            assert visit.serious_findings() == []


# the others have the same parts, and axe looks at every word
ONE_OF_EACH_METHOD = """() => {
    const seen = new Set();
    for (const each of document.querySelectorAll(".opblock")) {
        const method = each.querySelector(".opblock-summary-method").textContent;
        if (seen.has(method)) each.remove();
        seen.add(method);
    }
}"""


def test_axe_finds_nothing_serious_in_the_reference(browser: Browser, stack: Stack) -> None:
    """Swagger UI, mended by docs.css and docs.js; with an operation and the dialog for keys open."""
    with visiting(browser, stack.http, DESKTOP, "light", "/docs") as visit:
        visit.page.locator(".opblock-summary-control").first.click()
        expect(visit.page.locator(".body-param__text")).to_be_visible()
        visit.page.locator(".authorize").first.click()
        expect(visit.page.locator(".close-modal")).to_have_attribute("aria-label", "Close")
        visit.page.evaluate(ONE_OF_EACH_METHOD)
        assert visit.page.locator(".opblock").count() >= 4
        assert visit.serious_findings() == []
        visit.page.emulate_media(color_scheme="dark")
        expect(visit.page.locator("html.dark-mode")).to_have_count(1)
        assert visit.serious_findings() == []


def test_the_page_talks_to_the_exchange_only(browser: Browser, market: Market, account: str, stack: Stack) -> None:
    with visiting(browser, market.http, DESKTOP) as visit:
        visit.choose(market.symbol, account)
        assert visit.places == {address.split("://")[1].split("/")[0] for address in (stack.http, stack.ws)}


def test_changes_leave_nothing_behind(browser: Browser, stack: Stack) -> None:
    """Heap and nodes, garbage collected, before and after a thousand changes of a book of 200 levels on each side. No
    time is measured here: that, and ten minutes of it, is `make page-load`."""
    wandering = Wandering(own_symbol(), 200, random.Random(1))
    prepare(stack.http, wandering)
    with visiting(browser, stack.http, DESKTOP) as visit, changing(stack.ws, wandering, rate=500) as sent:
        visit.choose(wandering.symbol)
        metrics = Metrics(visit.page)

        def after(changes: int) -> tuple[float, float]:
            eventually(visit.page, lambda: sent.answers >= changes, f"{changes} changes")
            read = metrics.read_clean()
            return read["JSHeapUsedSize"] / 1e6, read["Nodes"]

        # every row is made by then, in the tape too
        expect(visit.page.locator("#ladder [data-price]")).to_have_count(200)
        expect(visit.page.locator("#tape > *")).to_have_count(60)
        read = [after(500), after(1_500)]
        while risen(read) and len(read) < 5:  # it may be code that was compiled meanwhile; what leaks rises each time
            read.append(after(sent.answers + 1_000))
        assert not risen(read), read
    assert not sent.refused


def risen(read: list[tuple[float, float]]) -> bool:
    """Whether there are more megabytes or nodes than the time before."""
    (heap, nodes), (heap_then, nodes_then) = read[-2:]
    return heap_then - heap >= 0.4 or nodes_then - nodes >= 100


@contextmanager
def changing(ws: str, wandering: Wandering, rate: float) -> Iterator[Sent]:
    """The book changes so many times a second, meanwhile."""
    stop, sent = threading.Event(), Sent()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(lambda: asyncio.run(send(ws, wandering, rate, stop, sent)))
        try:
            yield sent
        finally:
            stop.set()
            sending.result()
