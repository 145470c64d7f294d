"""Both clients against scripted HTTP: what is sent again, signed anew, remembered, and understood."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from pricetime_client import AsyncExchange, Exchange, NoAnswer, Refusal, transport

KEY = "pt_0123456789ab_" + "5" * 64
ORDER = {
    "order_id": 7, "client_order_id": "mine", "account": "anna", "symbol": "A", "side": "buy", "type": "limit",
    "time_in_force": "GTC", "post_only": False, "price": "1.00", "quantity": "2", "filled_quantity": "0",
    "remaining_quantity": "2", "average_price": None, "status": "open", "reason": None,
    "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "sequence": 3,
}  # fmt: skip
OVERLOADED = httpx.Response(503, json={"status": 503, "code": "overloaded", "detail": "Later."})


class Wire:
    """What is sent, and how it is answered: the next of the script, the last of it for good."""

    def __init__(self, *script: httpx.Response | Exception) -> None:
        self.sent: list[httpx.Request] = []
        self._script = list(script)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        found = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)


Ask = Callable[[Any], Any]


def blocking(wire: Wire, ask: Ask, **options: Any) -> Any:
    with Exchange(transport=httpx.MockTransport(wire), **options) as exchange:
        return ask(exchange)


def in_a_loop(wire: Wire, ask: Ask, **options: Any) -> Any:
    async def run() -> Any:
        async with AsyncExchange(transport=httpx.MockTransport(wire), **options) as exchange:
            found: Awaitable[Any] = ask(exchange)
            return await found

    return asyncio.run(run())


@pytest.fixture(params=[blocking, in_a_loop])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are tested where they are decided, in test_asking.py."""
    monkeypatch.setattr(transport, "spread", lambda pause: 0.0)
    monkeypatch.setattr("pricetime_client.exchange.spread", lambda pause: 0.0)
    monkeypatch.setattr("pricetime_client.async_exchange.spread", lambda pause: 0.0)


def place(exchange: Any) -> Any:
    return exchange.place(side="buy", price="1.00", quantity=2)


@pytest.mark.parametrize("first", [OVERLOADED, httpx.ReadError("reset"), httpx.ConnectError("refused")])
def test_the_very_same_order_is_sent_again(first: Any, ask: Any) -> None:
    wire = Wire(first, first, httpx.Response(201, json=ORDER))
    assert ask(wire, place).order_id == 7
    bodies = [json.loads(each.content) for each in wire.sent]
    assert bodies[0] == bodies[1] == bodies[2]
    assert len(bodies[0]["client_order_id"]) == 24


def test_two_orders_have_two_names(ask: Any) -> None:
    wire = Wire(httpx.Response(201, json=ORDER))
    ask(wire, place)
    ask(wire, place)
    first, second = (json.loads(each.content)["client_order_id"] for each in wire.sent)
    assert first != second


def test_a_refusal_is_raised(ask: Any) -> None:
    wire = Wire(httpx.Response(422, json={"status": 422, "code": "off_tick", "detail": "Nearest: 1.00.", "field": "p"}))
    with pytest.raises(Refusal, match=r"off_tick: Nearest: 1\.00\.") as refused:
        ask(wire, place)
    assert (refused.value.status, refused.value.problem.field, refused.value.retry_after) == (422, "p", None)


def test_an_exchange_that_is_not_there_is_said_so(ask: Any) -> None:
    with pytest.raises(NoAnswer, match="refused") as ended:
        ask(Wire(httpx.ConnectError("refused")), place, patience=0.01)
    assert not ended.value.unknown
    with pytest.raises(NoAnswer, match="POST /orders, which may have been carried out") as ended:
        ask(Wire(httpx.ReadTimeout("too long")), place, patience=0.01)
    assert ended.value.unknown


def test_reads_show_at_least_what_this_client_was_told(ask: Any) -> None:
    wire = Wire(httpx.Response(201, json=ORDER, headers={"Journal-Sequence": "41"}))

    async def both(exchange: AsyncExchange) -> None:
        await place(exchange)
        await exchange.order(7)

    def one_by_one(exchange: Exchange) -> None:
        place(exchange)
        exchange.order(7)

    ask(wire, both if ask is in_a_loop else one_by_one)
    assert [each.headers.get("journal-sequence") for each in wire.sent] == [None, "41"]


def test_each_attempt_is_signed_anew(ask: Any) -> None:
    wire = Wire(OVERLOADED, httpx.Response(201, json=ORDER))
    before = time.time_ns() // 1_000_000
    ask(wire, place, key=KEY, signed=True)
    first, second = (each.headers for each in wire.sent)
    assert first["pricetime-signature"] != second["pricetime-signature"]
    assert before <= int(first["pricetime-timestamp"]) < int(second["pricetime-timestamp"])
    assert "authorization" not in first


def test_an_unsigned_key_is_sent(ask: Any) -> None:
    wire = Wire(httpx.Response(201, json=ORDER))
    ask(wire, place, key=KEY)
    assert wire.sent[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://a", "http://", ""])
def test_what_is_no_address_is_named_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="no address of an exchange"):
        Exchange(url)


@pytest.mark.parametrize(
    ("url", "trusts"),
    [("http://127.0.0.1:8000", False), ("http://localhost", False), ("http://[::1]", False), ("https://a.com", True)],
)
def test_no_proxy_is_asked_for_this_machine(url: str, trusts: bool) -> None:
    assert transport.Address(url, None, signed=False).trusts_environment is trusts


def test_pauses_are_spread_but_never_shorter_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = {transport.spread(transport.Pause(2.0)) for _ in range(100)}
    assert all(2.0 <= each <= 2.5 for each in found)
    assert len(found) > 10
