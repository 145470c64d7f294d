"""The trading page when parts of the exchange go away, stand still and come back, and when keys are asked for.

Goal: the page never shows an old book as if it were live, and finds the true one again by itself. Method: the processes
of an exchange of this module's own are killed and held; in the meantime others trade.
"""

import secrets
import signal
from collections.abc import Callable, Iterator

import nats
import psutil
import pytest
from playwright.sync_api import Browser, expect

from contracts.keys import Scope
from tests.support.keys import ADMIN, MadeKey, make_key
from tests.support.servers import run_apart
from tests.support.stack import Stack, running_stack
from tests.support.trading_page import Market, Visit, eventually, visiting
from tools.browser import DESKTOP, PHONE, chromium

pytestmark = pytest.mark.stack

LOST = (
    r"WebSocket connection to .* failed",
    r"Failed to load resource: (net::ERR_|the server responded with a status of 50[234])",
)
"""What Chromium itself says about a server that is not there; no page can prevent it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def exchange() -> Iterator[Stack]:
    with running_stack() as started:
        yield started


@pytest.fixture
def market(exchange: Stack) -> Market:
    made = Market(exchange.http)
    made.place("sell", "101", "1")
    made.place("buy", "99", "1")
    return made


def shows(visit: Visit, market: Market) -> None:
    """Return when the ladder is what REST says, both sides."""
    told = {
        side: [(price, float(size)) for price, size in market.depth()[name]]
        for side, name in (("bid", "bids"), ("ask", "asks"))
    }

    def is_shown() -> bool:
        return all(
            [(price, float(size.replace(",", ""))) for price, size in visit.ladder(side)] == told[side] for side in told
        )

    eventually(visit.page, is_shown, f"the ladder shows {told}")


def test_the_broadcaster_is_killed_and_the_page_finds_the_book_again(
    browser: Browser, exchange: Stack, market: Market
) -> None:
    account = f"web-{secrets.token_hex(3)}"
    gone = market.place("buy", "98", "1", account=account)
    with visiting(browser, exchange.http, DESKTOP) as visit:
        visit.expected += LOST
        visit.choose(market.symbol, account)
        expect(visit.open_order(gone["order_id"])).to_be_visible()
        states = states_of(visit)

        killed = exchange.kill("broadcaster")
        eventually(
            visit.page, lambda: visit.at("connection").get_attribute("data-state") != "live", "it shows the loss"
        )
        # the matcher and the gateway go on, so the book becomes another one
        market.ask("DELETE", f"/orders/{gone['order_id']}")
        came = market.place("buy", "98.50", "2", account=account)
        market.place("buy", "101", "0.5")

        exchange.wait_until_healed("broadcaster", killed)
        visit.wait_until("live")
        shows(visit, market)
        expect(visit.open_order(gone["order_id"])).to_have_count(0)
        expect(visit.open_order(came["order_id"])).to_be_visible()
        expect(visit.at("tape").locator(":scope > *").first).to_contain_text("101.00")
        seen = states()
        assert seen[-1] == "live"
        assert "offline" in seen
        assert "resyncing" in seen


def states_of(visit: Visit) -> Callable[[], list[str]]:
    """Every state that the connection takes from now on, however short."""
    visit.page.evaluate(
        """() => {
            const at = document.getElementById("connection");
            window.statesSeen = [];
            new MutationObserver(() => window.statesSeen.push(at.dataset.state))
                .observe(at, {attributes: true, attributeFilter: ["data-state"]});
        }"""
    )
    return lambda: list(visit.page.evaluate("window.statesSeen"))


def test_a_broadcaster_that_stands_still_is_noticed(browser: Browser, exchange: Stack, market: Market) -> None:
    with visiting(browser, exchange.http, PHONE) as visit:
        visit.expected += LOST
        visit.choose(market.symbol)
        states = states_of(visit)
        held = psutil.Process(exchange.pids["broadcaster"])
        held.send_signal(signal.SIGSTOP)
        try:
            eventually(visit.page, lambda: "stale" in states(), "no heartbeat: what is shown may be old")
            market.place("buy", "97", "3")
        finally:
            held.send_signal(signal.SIGCONT)
        visit.wait_until("live")
        shows(visit, market)


@pytest.mark.parametrize("part", ["gateway", "matcher"])
def test_an_order_while_a_part_is_away_is_placed_once(
    browser: Browser, exchange: Stack, market: Market, part: str
) -> None:
    account = f"web-{secrets.token_hex(3)}"
    with visiting(browser, exchange.http, DESKTOP) as visit:
        visit.expected += LOST
        visit.choose(market.symbol, account)
        visit.fill(side="buy", type="limit", price="98", quantity="1")
        killed = exchange.kill(part)
        visit.submit()
        exchange.wait_until_healed(part, killed)
        row = visit.page.locator("#open-orders [data-order-id]")
        expect(row).to_have_count(1)
        expect(visit.message()).to_contain_text(f"Order {row.get_attribute('data-order-id')} is open")
        assert len(market.orders(account)) == 1


def test_with_keys_the_page_asks_for_one(browser: Browser, exchange: Stack, market: Market) -> None:
    """One that must sign is never sent. This and the next are the last: once there is a key there is no way back."""
    market.headers = made_key(exchange, ADMIN).bearer
    made = made_key(exchange, TRADER, signed_only=True)
    wrong = f"pt_{made.id}_{'0' * 64}"
    with visiting(browser, exchange.http, DESKTOP) as visit:
        visit.expected.append("the server responded with a status of 401")
        sent = everything_sent(visit)
        visit.choose(market.symbol)
        expect(visit.level("ask", "101.00")).to_be_visible()  # market data needs no key
        expect(visit.at("key")).to_be_visible()
        for each, note in (("pt_nonsense", "not a whole key"), (wrong, "not good"), (made.key, "may read, trade")):
            say_key(visit, each)
            expect(visit.at("key-note")).to_contain_text(note)
        expect(visit.message()).to_contain_text("may read, trade")
        expect(visit.at("key")).to_be_hidden()
        expect(visit.at("key-button")).to_contain_text(made.id[:4])
        visit.trade_for("anna")
        visit.fill(side="buy", type="limit", price="98", quantity="1")
        visit.submit()
        eventually(visit.page, lambda: bool(market.orders("anna")), "an order by key")
        expect(visit.open_order(market.order("anna")["order_id"])).to_be_visible()
        visit.trade_for("ben")
        expect(visit.at("key-note")).to_contain_text("not for the account ben")
        expect(visit.at("open-orders-empty")).to_contain_text("Not for this key")
        assert visit.serious_findings() == []
        visit.trade_for("anna")
        expect(visit.at("key")).to_be_hidden()
        expect(visit.at("open-orders")).to_contain_text("98.00")
        assert made.key not in visit.page.content()
        assert any("pricetime-signature" in each for each in sent)
        assert not any(made.secret in each for each in sent)


def test_prices_that_cannot_be_had_are_said_to_be_missing(browser: Browser, exchange: Stack) -> None:
    nowhere = {"ws_url": "ws://127.0.0.1:1/ws", "default_symbol": "BTC-USD", "version": "1"}
    with visiting(browser, exchange.http, PHONE) as visit:
        visit.expected += [*LOST, "Content Security Policy", "Refused to connect"]
        visit.page.route("**/config.json", lambda route: route.fulfill(json=nowhere))
        visit.page.clock.install()
        visit.page.reload()

        def is_told() -> bool:
            visit.page.clock.run_for(500)
            return "cannot be reached" in visit.at("stale-note").inner_text()

        eventually(visit.page, is_told, "it is said")


def test_where_a_browser_cannot_sign_the_page_says_so(browser: Browser, exchange: Stack) -> None:
    market = Market(exchange.http, headers=made_key(exchange, ADMIN).bearer)
    signing, other = made_key(exchange, TRADER, signed_only=True), made_key(exchange, TRADER)
    with visiting(browser, exchange.http, DESKTOP) as visit:
        visit.expected.append("the server responded with a status of 401")
        visit.page.add_init_script("Object.defineProperty(Crypto.prototype, 'subtle', {get: () => undefined})")
        visit.page.reload()
        visit.choose(market.symbol)
        say_key(visit, signing.key)
        expect(visit.at("key-note")).to_contain_text("over https or on localhost")
        say_key(visit, other.key)
        expect(visit.at("key-note")).to_contain_text("may read, trade")


def say_key(visit: Visit, key: str) -> None:
    visit.at("key").fill(key)
    visit.at("key").press("Enter")


def everything_sent(visit: Visit) -> list[str]:
    """Headers and bodies of requests and frames of WebSockets, from now on."""
    sent: list[str] = []
    visit.page.on("request", lambda request: sent.append(f"{request.url} {request.headers} {request.post_data}"))
    visit.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(str(frame))))
    return sent


TRADER = (Scope.READ, Scope.TRADE)


def made_key(exchange: Stack, scopes: tuple[Scope, ...], **fields: bool) -> MadeKey:
    async def make() -> MadeKey:
        connection = await nats.connect(exchange.nats)
        try:
            return await make_key(connection, scopes, **fields)
        finally:
            await connection.close()

    return run_apart(make)
