"""The exchange for asyncio. Every method is also on Exchange, which blocks instead."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from pricetime_client import fields as given
from pricetime_client.asking import Answer, Came, Conversation, Lost, Pause, Request
from pricetime_client.calls import Calls, Config
from pricetime_client.errors import ExchangeError
from pricetime_client.stream import Stream, websocket_address
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
_AT_ONCE_SECONDS = 2.0


class AsyncExchange:
    """
    async with AsyncExchange() as exchange:
        order = await exchange.place(side="buy", price="99.50", quantity="1")
        await exchange.cancel(order.order_id)

    `url`: of REST; `ws_url`: of the streams, asked from the exchange if it is not given. `account`: whose orders, where
    a call names none. `key`: an API key; with `signed` it is never sent, each request is signed with it. `patience`:
    how many seconds a call goes on repeating its request while the exchange cannot be reached or does not decide.
    `timeout`: seconds for one attempt. `verify`: how a certificate is judged, as httpx has it.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        ws_url: str | None = None,
        key: str | None = None,
        *,
        account: str | None = None,
        signed: bool = False,
        patience: float = 30.0,
        timeout: float = 10.0,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = Address(url, key, signed=signed)
        self._calls = Calls(account, patience)
        self._ws_url = ws_url
        self._verify = verify
        self._patience = patience
        self._client = httpx.AsyncClient(
            timeout=timeout,
            verify=verify if self._address.verifies else False,
            transport=transport,
            trust_env=self._address.trusts_environment,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()

    # Orders

    async def place(self, **order: Unpack[given.OrderFields]) -> Order:
        """Place an order, once, however often it has to be sent. Without `type` it is a limit order."""
        return await self._hold(self._calls.place(order, new_name()))

    async def amend(
        self, order: int | str, *, account: str | None = None, **changes: Unpack[given.AmendFields]
    ) -> Order:
        """`order`: its order_id, or its client_order_id. `quantity` is the new total, fills included."""
        return await self._hold(self._calls.amend(order, changes, account))

    async def cancel(self, order: int | str, *, account: str | None = None) -> Order:
        """`order`: its order_id, or its client_order_id."""
        return await self._hold(self._calls.cancel(order, account))

    async def replace(self, order_id: int, **order: Unpack[given.OrderFields]) -> Replaced:
        """Cancel one order and place another, or neither."""
        return await self._hold(self._calls.replace(order_id, order, new_name()))

    async def cancel_all(self, **filters: Unpack[given.CancelAllFilters]) -> Canceled:
        """Repeated like all others: it may meet what was placed while its answer was on the way."""
        return await self._hold(self._calls.cancel_all(filters))

    async def batch(self, items: Sequence[given.BatchItem], *, all_or_nothing: bool = False) -> list[BatchResult]:
        """Up to 500 items such as {"place": {...}}, {"amend": {...}}, {"cancel": {"order_id": 7}}, in this order."""
        names = [new_name() for _ in items]
        return await self._hold(self._calls.batch(items, names, all_or_nothing=all_or_nothing))

    async def cancel_all_after(self, seconds: given.Number, *, account: str | None = None) -> DeadMansSwitch:
        """Every order of the account is canceled unless this is called again in time; 0 disarms it."""
        return await self._hold(self._calls.cancel_all_after(seconds, account))

    # Reads

    async def order(self, order: int | str, *, account: str | None = None) -> Order:
        """`order`: its order_id, or its client_order_id."""
        return await self._hold(self._calls.order(order, account))

    async def orders(self, *, limit: int | None = 100, **filters: Unpack[given.OrderFilters]) -> list[Order]:
        """The newest first; all of them without a limit."""
        return await self._hold(self._calls.orders(filters, limit))

    async def order_history(self, order_id: int) -> list[OrderEvent]:
        """All that happened to an order, in its order."""
        return await self._hold(self._calls.order_history(order_id))

    async def trades(self, *, limit: int | None = 100, **filters: Unpack[given.TradeFilters]) -> list[Trade]:
        """The newest first; all of them without a limit. With `order_id` the fills of that order."""
        return await self._hold(self._calls.trades(filters, limit))

    async def depth(self, symbol: str, levels: int = 10) -> Depth:
        return await self._hold(self._calls.depth(symbol, levels))

    async def ticker(self, symbol: str) -> Ticker:
        return await self._hold(self._calls.ticker(symbol))

    async def candles(self, symbol: str, **asked: Unpack[given.CandleRange]) -> list[Candle]:
        """The oldest first; of a minute unless another `interval` is asked for."""
        return await self._hold(self._calls.candles(symbol, asked))

    async def instruments(self) -> list[Instrument]:
        return await self._hold(self._calls.instruments())

    async def instrument(self, symbol: str) -> Instrument:
        return await self._hold(self._calls.instrument(symbol))

    async def account(self, account: str | None = None) -> Account:
        """Limits, switches and positions."""
        return await self._hold(self._calls.account(account))

    async def status(self) -> Status:
        """How each part is, now: asked once, never repeated."""
        return await self._hold(self._calls.status())

    async def config(self) -> Config:
        """Where the streams are, which symbol an order is for that names none, and the version."""
        return await self._hold(self._calls.config())

    # Administration

    async def define_instrument(self, symbol: str, **rules: Unpack[given.InstrumentFields]) -> Instrument:
        """List an instrument, or give it other limits and bands."""
        return await self._hold(self._calls.define_instrument(symbol, rules))

    async def set_instrument_status(self, symbol: str, status: InstrumentStatus) -> Instrument:
        return await self._hold(self._calls.set_instrument_status(symbol, status))

    async def set_limits(self, account: str | None = None, **limits: Unpack[given.LimitFields]) -> AccountLimits:
        return await self._hold(self._calls.set_limits(account, limits))

    async def set_kill_switch(self, account: str | None = None, *, engaged: bool) -> KillSwitch:
        return await self._hold(self._calls.set_kill_switch(account, engaged=engaged))

    # Streams

    def stream(self) -> Stream:
        """One connection for any number of subscriptions: `async with exchange.stream() as stream`."""
        return Stream(
            self._stream_address,
            self._address.key_headers,
            self._trades_after,
            self._last_trade,
            patience=self._patience,
            tls=self._verify,
            trusts_environment=self._address.trusts_environment,
        )

    async def _trades_after(self, symbol: str | None, sequence: int) -> list[Trade]:
        return await self._hold(self._calls.trades_after(symbol, sequence))

    async def _last_trade(self) -> int | None:
        """The sequence of the latest one, 0 before the first; None if it cannot be told at once."""
        try:
            async with asyncio.timeout(_AT_ONCE_SECONDS):
                trades = await self._hold(Calls(None, patience=0.0).trades({}, 1))
        except (ExchangeError, TimeoutError):
            return None
        return trades[0].sequence if trades else 0

    async def _stream_address(self) -> str:
        if self._ws_url is None:
            self._ws_url = (await self._hold(self._calls.config())).ws_url
        return websocket_address(self._ws_url, self._address.url)

    # How it is done

    async def _hold(self, conversation: Conversation[T]) -> T:
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                found: T = end.value
                return found
            came = await self._do(step)

    async def _do(self, step: Request | Pause) -> Answer | Lost | None:
        if isinstance(step, Pause):
            await asyncio.sleep(spread(step))
            return None
        began = time.monotonic()
        try:
            response = await self._client.send(self._address.request(self._client, step))
        except httpx.TransportError as error:
            return lost(error, began)
        return self._address.answer(response, began)
