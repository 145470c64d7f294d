"""Everything that can be asked, as conversations: which requests it takes, and what is made of their answers. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from pricetime_client.asking import Answer, Ask, Conversation, Definite, Request, definite, read, refusal
from pricetime_client.errors import ExchangeError, NoAnswer, Refusal
from pricetime_client.fields import BatchItem, Number, target
from pricetime_client.views import (
    Account,
    AccountLimits,
    BatchResult,
    Canceled,
    Candle,
    DeadMansSwitch,
    Depth,
    Instrument,
    InstrumentStatus,
    KillSwitch,
    Order,
    OrderEvent,
    Replaced,
    Status,
    Ticker,
    Trade,
)
from pricetime_client.ways import OverRest, OverSocket, as_json, order_target

PAGE = 1_000
"""How many items of a list are asked for at once."""
_AT_ONCE_SECONDS = 2.0

T = TypeVar("T")


class Config(Struct, frozen=True):
    """What the exchange tells pages and programs to begin with."""

    ws_url: str = ""
    default_symbol: str = ""
    version: str = ""


class _Page(Struct, frozen=True):
    items: list[Any]
    next_cursor: str | None = None


class _Batch(Struct, frozen=True):
    items: list[BatchResult]
    sequence: int


class _Enabled(Struct, frozen=True):
    enabled: bool


class Calls:
    """`account`: whose orders, where none is named. `patience`: seconds for a request, its repetitions included.
    `way`: how orders are sent; all else is REST."""

    def __init__(self, account: str | None, patience: float, way: OverRest | OverSocket | None = None) -> None:
        self._account = account
        self._patience = patience
        self._way = way or OverRest()

    def over_socket(self) -> "Calls":
        """The same for orders over the connection of a stream."""
        return Calls(self._account, self._patience, OverSocket())

    # Orders

    def place(self, fields: Mapping[str, Any], name: str) -> Conversation[Order]:
        """`name`: its client_order_id if it has none; with one it can be sent again and is placed once."""
        return self._ask(self._way.place(self._order(fields, name)), Order)

    def replace(self, order_id: int, fields: Mapping[str, Any], name: str) -> Conversation[Replaced]:
        order = self._order(fields, name)
        address = target("/orders/{}/replace", order_id)
        return self._ask(as_json("POST", address, order, order["client_order_id"]), Replaced)

    def amend(self, order: int | str, fields: Mapping[str, Any], account: str | None) -> Conversation[Order]:
        return self._ask(self._way.amend(order, account or self._account, fields), Order)

    def cancel(self, order: int | str, account: str | None) -> Conversation[Order]:
        """A cancelation that was sent before and whose answer was lost finds its order canceled: that is no refusal."""
        came = yield from self._definite(self._way.cancel(order, account or self._account))
        try:
            return read(came.answer, Order)
        except Refusal as error:
            if not came.after_unknown or error.order_status != "canceled" or error.order_id is None:
                raise
            return (yield from self.order(error.order_id, account))

    def cancel_all(self, filters: Mapping[str, Any]) -> Conversation[Canceled]:
        return self._ask(self._way.cancel_all(self._of_account(filters)), Canceled)

    def batch(
        self, items: Sequence[BatchItem], names: Sequence[str], *, all_or_nothing: bool
    ) -> Conversation[list[BatchResult]]:
        sent = [self._batch_item(item, name) for item, name in zip(items, names, strict=True)]
        body = {"items": sent, "all_or_nothing": all_or_nothing}
        return (yield from self._ask(self._way.batch(body), _Batch)).items

    def cancel_all_after(self, seconds: Number, account: str | None) -> Conversation[DeadMansSwitch]:
        return self._ask(self._way.cancel_all_after(self._named(account), seconds), DeadMansSwitch)

    def cancel_on_disconnect(self, *, enabled: bool) -> Conversation[bool]:
        """Only over the connection that it is about."""
        assert isinstance(self._way, OverSocket)
        return (yield from self._ask(self._way.cancel_on_disconnect(enabled=enabled), _Enabled)).enabled

    # Reads

    def order(self, order: int | str, account: str | None) -> Conversation[Order]:
        return self._get(order_target(order, account or self._account), Order)

    def orders(self, filters: Mapping[str, Any], limit: int | None) -> Conversation[list[Order]]:
        return self._listed("/orders", self._of_account(filters), limit, Order)

    def order_history(self, order_id: int) -> Conversation[list[OrderEvent]]:
        return self._listed(target("/orders/{}/history", order_id), {}, None, OrderEvent)

    def trades(self, filters: Mapping[str, Any], limit: int | None) -> Conversation[list[Trade]]:
        return self._listed("/trades", filters, limit, Trade)

    def trades_after(self, symbol: str | None, sequence: int) -> Conversation[list[Trade]]:
        """All that came after the one with this sequence, the oldest first."""
        found: list[Trade] = []
        cursor: str | None = None
        while True:
            query = {"symbol": symbol, "limit": PAGE, "cursor": cursor}
            page = yield from self._get(target("/trades", query=query), _Page)
            found += msgspec.convert(page.items, list[Trade])
            cursor = page.next_cursor
            if cursor is None or found[-1].sequence <= sequence:
                return [trade for trade in reversed(found) if trade.sequence > sequence]

    def last_trade(self) -> Conversation[int | None]:
        """The sequence of the latest one, 0 before the first; None if it cannot be told at once."""
        request = Request(method="GET", target="/trades?limit=1", timeout=_AT_ONCE_SECONDS)
        try:
            page = read((yield from definite(request, 0.0)).answer, _Page)
        except ExchangeError:
            return None
        trades = msgspec.convert(page.items, list[Trade])
        return trades[0].sequence if trades else 0

    def depth(self, symbol: str, levels: int) -> Conversation[Depth]:
        return self._get(target("/market/{}/depth", symbol, query={"levels": levels}), Depth)

    def ticker(self, symbol: str) -> Conversation[Ticker]:
        return self._get(target("/market/{}", symbol), Ticker)

    def candles(self, symbol: str, asked: Mapping[str, Any]) -> Conversation[list[Candle]]:
        names = {"start": "from", "end": "to"}
        query = {names.get(name, name): value for name, value in asked.items()}
        page = yield from self._get(target("/market/{}/candles", symbol, query=query), _Page)
        return msgspec.convert(page.items, list[Candle])

    def instruments(self) -> Conversation[list[Instrument]]:
        return self._listed("/instruments", {}, None, Instrument, pages=False)

    def instrument(self, symbol: str) -> Conversation[Instrument]:
        return self._get(target("/instruments/{}", symbol), Instrument)

    def account(self, account: str | None) -> Conversation[Account]:
        return self._get(target("/accounts/{}", self._named(account)), Account)

    def status(self) -> Conversation[Status]:
        """As it is now, well or not: asked once."""
        came = yield Request(method="GET", target="/health/ready")
        if not isinstance(came, Answer):
            raise NoAnswer(f"the exchange does not answer ({came.why if came else 'nothing was sent'})", unknown=False)
        try:
            return msgspec.json.decode(came.body, type=Status)
        except msgspec.MsgspecError:
            raise refusal(came) from None

    def config(self) -> Conversation[Config]:
        """An exchange that does not tell has nothing to tell."""
        answer = (yield from self._definite(Request(method="GET", target="/config.json"))).answer
        return Config() if answer.status == 404 else read(answer, Config)

    # Administration

    def define_instrument(self, symbol: str, fields: Mapping[str, Any]) -> Conversation[Instrument]:
        return self._ask(as_json("PUT", target("/instruments/{}", symbol), fields), Instrument)

    def set_instrument_status(self, symbol: str, status: InstrumentStatus) -> Conversation[Instrument]:
        return self._ask(as_json("PUT", target("/instruments/{}/status", symbol), {"status": status}), Instrument)

    def set_limits(self, account: str | None, fields: Mapping[str, Any]) -> Conversation[AccountLimits]:
        return self._ask(as_json("PUT", target("/accounts/{}/limits", self._named(account)), fields), AccountLimits)

    def set_kill_switch(self, account: str | None, *, engaged: bool) -> Conversation[KillSwitch]:
        address = target("/accounts/{}/kill-switch", self._named(account))
        return self._ask(as_json("PUT", address, {"engaged": engaged}), KillSwitch)

    # How they are made

    def _definite(self, request: Ask) -> Conversation[Definite]:
        return definite(request, self._patience)

    def _ask(self, request: Ask, wanted: type[T]) -> Conversation[T]:
        return read((yield from self._definite(request)).answer, wanted)

    def _get(self, address: str, wanted: type[T]) -> Conversation[T]:
        return self._ask(Request(method="GET", target=address), wanted)

    def _listed(
        self, address: str, filters: Mapping[str, Any], limit: int | None, item: type[T], *, pages: bool = True
    ) -> Conversation[list[T]]:
        """The first `limit` items, or all, page after page."""
        found: list[T] = []
        cursor: str | None = None
        while limit is None or len(found) < limit:
            wanted = PAGE if limit is None else min(PAGE, limit - len(found))
            query = {**filters, "limit": wanted, "cursor": cursor} if pages else filters
            page = yield from self._get(target(address, query=query), _Page)
            found += msgspec.convert(page.items, list[item])  # type: ignore[valid-type]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    def _order(self, fields: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {"client_order_id": name, **self._of_account(fields)}

    def _batch_item(self, item: BatchItem, name: str) -> Mapping[str, Any]:
        return {"place": self._order(item["place"], name)} if "place" in item else item

    def _of_account(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in fields.items() if value is not None}
        return {"account": self._account, **given} if self._account else given

    def _named(self, account: str | None) -> str:
        return account or self._account or "default"
