"""The exchange for programs that wait for each answer. AsyncExchange has the same methods."""

import ssl
import time
from types import TracebackType
from typing import Self, Unpack

import httpx

from pricetime_client import fields as given
from pricetime_client.asking import Came, Pause, Request, Step
from pricetime_client.blocking_stream import BlockingStream
from pricetime_client.calls import Calls, Config
from pricetime_client.orders import Orders
from pricetime_client.transport import Address, lost, new_name, spread
from pricetime_client.views import (
    Account,
    AccountLimits,
    Candle,
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


class Exchange(Orders):
    """
    with Exchange() as exchange:
        order = exchange.place(side="buy", price="99.50", quantity="1")
        exchange.cancel(order.order_id)

    `url`: of REST; `ws_url`: of the streams, asked from the exchange if it is not given. `account`: whose orders, where
    a call names none. `key`: an API key; with `signed` it is never sent, each request is signed with it. `patience`:
    how many seconds a call goes on repeating its request while the exchange cannot be reached or does not decide.
    `timeout`: seconds for one attempt. `verify`: how a certificate is judged, as httpx has it.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        key: str | None = None,
        *,
        ws_url: str | None = None,
        account: str | None = None,
        signed: bool = False,
        patience: float = 30.0,
        timeout: float = 10.0,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._address = Address(url, key, signed=signed, ws_url=ws_url)
        self._orders = Calls(account, patience)
        self._verify = verify
        self._patience = patience
        self._timeout = timeout
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

    def replace(self, order_id: int, **order: Unpack[given.OrderFields]) -> Replaced:
        """Cancel one order and place another, or neither."""
        return self._hold(self._orders.replace(order_id, order, new_name()))

    # Reads

    def order(self, order: int | str, *, account: str | None = None) -> Order:
        """`order`: its order_id, or its client_order_id."""
        return self._hold(self._orders.order(order, account))

    def orders(self, *, limit: int | None = 100, **filters: Unpack[given.OrderFilters]) -> list[Order]:
        """The newest first; all of them without a limit."""
        return self._hold(self._orders.orders(filters, limit))

    def order_history(self, order_id: int) -> list[OrderEvent]:
        """All that happened to an order, in its order."""
        return self._hold(self._orders.order_history(order_id))

    def trades(self, *, limit: int | None = 100, **filters: Unpack[given.TradeFilters]) -> list[Trade]:
        """The newest first; all of them without a limit. With `order_id` the fills of that order."""
        return self._hold(self._orders.trades(filters, limit))

    def depth(self, symbol: str, levels: int = 10) -> Depth:
        return self._hold(self._orders.depth(symbol, levels))

    def ticker(self, symbol: str) -> Ticker:
        return self._hold(self._orders.ticker(symbol))

    def candles(self, symbol: str, **asked: Unpack[given.CandleRange]) -> list[Candle]:
        """The oldest first; of a minute unless another `interval` is asked for."""
        return self._hold(self._orders.candles(symbol, asked))

    def instruments(self) -> list[Instrument]:
        return self._hold(self._orders.instruments())

    def instrument(self, symbol: str) -> Instrument:
        return self._hold(self._orders.instrument(symbol))

    def account(self, account: str | None = None) -> Account:
        """Limits, switches and positions."""
        return self._hold(self._orders.account(account))

    def status(self) -> Status:
        """How each part is, now: asked once, never repeated."""
        return self._hold(self._orders.status())

    def config(self) -> Config:
        """Where the streams are, which symbol an order is for that names none, and the version."""
        return self._hold(self._orders.config())

    # Administration

    def define_instrument(self, symbol: str, **rules: Unpack[given.InstrumentFields]) -> Instrument:
        """List an instrument, or give it other limits and bands."""
        return self._hold(self._orders.define_instrument(symbol, rules))

    def set_instrument_status(self, symbol: str, status: InstrumentStatus) -> Instrument:
        return self._hold(self._orders.set_instrument_status(symbol, status))

    def set_limits(self, account: str | None = None, **limits: Unpack[given.LimitFields]) -> AccountLimits:
        return self._hold(self._orders.set_limits(account, limits))

    def set_kill_switch(self, account: str | None = None, *, engaged: bool) -> KillSwitch:
        return self._hold(self._orders.set_kill_switch(account, engaged=engaged))

    # Streams

    def stream(self) -> BlockingStream:
        """One connection for orders and any number of subscriptions: `with exchange.stream() as stream`."""
        return BlockingStream(
            self._orders,
            self._do,
            self._address,
            patience=self._patience,
            timeout=self._timeout,
            verify=self._verify,
        )

    # How it is done

    def _do(self, step: Step) -> Came:
        if isinstance(step, Pause):
            time.sleep(spread(step))
            return None
        assert isinstance(step, Request)
        began = time.monotonic()
        try:
            response = self._client.send(self._address.request(self._client, step))
        except httpx.TransportError as error:
            return lost(error, began)
        return self._address.answer(response, began)
