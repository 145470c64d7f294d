"""The exchange for programs that wait for each answer. AsyncExchange has the same methods, and the streams."""

import ssl
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from pricetime_client import fields as given
from pricetime_client.asking import Answer, Came, Conversation, Lost, Pause, Request
from pricetime_client.calls import Calls, Config
from pricetime_client.transport import Address, lost, new_name, spread
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

T = TypeVar("T")


class Exchange:
    """
    with Exchange() as exchange:
        order = exchange.place(side="buy", price="99.50", quantity="1")
        exchange.cancel(order.order_id)

    `url`: of REST. `account`: whose orders, where a call names none. `key`: an API key; with `signed` it is never sent,
    each request is signed with it. `patience`: how many seconds a call goes on repeating its request while the exchange
    cannot be reached or does not decide. `timeout`: seconds for one attempt. `verify`: how a certificate is judged, as
    httpx has it.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        account: str | None = None,
        signed: bool = False,
        patience: float = 30.0,
        timeout: float = 10.0,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._address = Address(url, key, signed=signed)
        self._calls = Calls(account, patience)
        self._client = httpx.Client(
            timeout=timeout,
            verify=verify if self._address.verifies else False,
            transport=transport,
            trust_env=self._address.trusts_environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    # Orders

    def place(self, **order: Unpack[given.OrderFields]) -> Order:
        """Place an order, once, however often it has to be sent. Without `type` it is a limit order."""
        return self._hold(self._calls.place(order, new_name()))

    def amend(self, order: int | str, *, account: str | None = None, **changes: Unpack[given.AmendFields]) -> Order:
        """`order`: its order_id, or its client_order_id. `quantity` is the new total, fills included."""
        return self._hold(self._calls.amend(order, changes, account))

    def cancel(self, order: int | str, *, account: str | None = None) -> Order:
        """`order`: its order_id, or its client_order_id."""
        return self._hold(self._calls.cancel(order, account))

    def replace(self, order_id: int, **order: Unpack[given.OrderFields]) -> Replaced:
        """Cancel one order and place another, or neither."""
        return self._hold(self._calls.replace(order_id, order, new_name()))

    def cancel_all(self, **filters: Unpack[given.CancelAllFilters]) -> Canceled:
        """Repeated like all others: it may meet what was placed while its answer was on the way."""
        return self._hold(self._calls.cancel_all(filters))

    def batch(self, items: Sequence[given.BatchItem], *, all_or_nothing: bool = False) -> list[BatchResult]:
        """Up to 500 items such as {"place": {...}}, {"amend": {...}}, {"cancel": {"order_id": 7}}, in this order."""
        names = [new_name() for _ in items]
        return self._hold(self._calls.batch(items, names, all_or_nothing=all_or_nothing))

    def cancel_all_after(self, seconds: given.Number, *, account: str | None = None) -> DeadMansSwitch:
        """Every order of the account is canceled unless this is called again in time; 0 disarms it."""
        return self._hold(self._calls.cancel_all_after(seconds, account))

    # Reads

    def order(self, order: int | str, *, account: str | None = None) -> Order:
        """`order`: its order_id, or its client_order_id."""
        return self._hold(self._calls.order(order, account))

    def orders(self, *, limit: int | None = 100, **filters: Unpack[given.OrderFilters]) -> list[Order]:
        """The newest first; all of them without a limit."""
        return self._hold(self._calls.orders(filters, limit))

    def order_history(self, order_id: int) -> list[OrderEvent]:
        """All that happened to an order, in its order."""
        return self._hold(self._calls.order_history(order_id))

    def trades(self, *, limit: int | None = 100, **filters: Unpack[given.TradeFilters]) -> list[Trade]:
        """The newest first; all of them without a limit. With `order_id` the fills of that order."""
        return self._hold(self._calls.trades(filters, limit))

    def depth(self, symbol: str, levels: int = 10) -> Depth:
        return self._hold(self._calls.depth(symbol, levels))

    def ticker(self, symbol: str) -> Ticker:
        return self._hold(self._calls.ticker(symbol))

    def candles(self, symbol: str, **asked: Unpack[given.CandleRange]) -> list[Candle]:
        """The oldest first; of a minute unless another `interval` is asked for."""
        return self._hold(self._calls.candles(symbol, asked))

    def instruments(self) -> list[Instrument]:
        return self._hold(self._calls.instruments())

    def instrument(self, symbol: str) -> Instrument:
        return self._hold(self._calls.instrument(symbol))

    def account(self, account: str | None = None) -> Account:
        """Limits, switches and positions."""
        return self._hold(self._calls.account(account))

    def status(self) -> Status:
        """How each part is, now: asked once, never repeated."""
        return self._hold(self._calls.status())

    def config(self) -> Config:
        """Where the streams are, which symbol an order is for that names none, and the version."""
        return self._hold(self._calls.config())

    # Administration

    def define_instrument(self, symbol: str, **rules: Unpack[given.InstrumentFields]) -> Instrument:
        """List an instrument, or give it other limits and bands."""
        return self._hold(self._calls.define_instrument(symbol, rules))

    def set_instrument_status(self, symbol: str, status: InstrumentStatus) -> Instrument:
        return self._hold(self._calls.set_instrument_status(symbol, status))

    def set_limits(self, account: str | None = None, **limits: Unpack[given.LimitFields]) -> AccountLimits:
        return self._hold(self._calls.set_limits(account, limits))

    def set_kill_switch(self, account: str | None = None, *, engaged: bool) -> KillSwitch:
        return self._hold(self._calls.set_kill_switch(account, engaged=engaged))

    # How it is done

    def _hold(self, conversation: Conversation[T]) -> T:
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                found: T = end.value
                return found
            came = self._do(step)

    def _do(self, step: Request | Pause) -> Answer | Lost | None:
        if isinstance(step, Pause):
            time.sleep(spread(step))
            return None
        began = time.monotonic()
        try:
            response = self._client.send(self._address.request(self._client, step))
        except httpx.TransportError as error:
            return lost(error, began)
        return self._address.answer(response, began)
