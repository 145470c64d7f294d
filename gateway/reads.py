"""Reads that never show a client less than it was told: wait for the history to catch up, then ask it."""

import msgspec
from nats.aio.client import Client

from contracts.candles import INTERVALS
from contracts.subjects import BROADCASTER_DEPTH, BROADCASTER_MARKET, MATCHER_STATUS
from contracts.views import (
    CandleView,
    Instrument,
    InstrumentView,
    OrderView,
    TradeView,
    candle_view,
    instrument_view,
)
from entry.commands import is_symbol
from entry.instruments import Instruments
from entry.position import Position
from entry.problems import Declined, declined
from entry.refusals import not_found, not_listed
from entry.services import ask
from gateway.candles import CandleRange
from gateway.history import History, unavailable
from gateway.pages import Page
from gateway.views import AccountView, OrderEventView
from runtime import clock


class _Status(msgspec.Struct):
    sequence: int


class _Error(msgspec.Struct):
    error: str | None = None


_status_decoder = msgspec.json.Decoder(_Status)
_error_decoder = msgspec.json.Decoder(_Error)
_encode = msgspec.json.encode

_COMMIT_UNDER_WAY = 5_000_000
"""Microseconds between the time that a commit is given and the moment that the matcher counts it, at the most."""


class Reads:
    """`seen` is what the client says it has been told elsewhere, as a journal sequence; 0 if nothing."""

    def __init__(
        self, connection: Client, history: History, instruments: Instruments, position: Position, wait_seconds: float
    ) -> None:
        self._connection = connection
        self._history = history
        self._instruments = instruments
        self._position = position
        self._wait_seconds = wait_seconds

    async def order(self, order_id: int, seen: int = 0) -> OrderView:
        found = await self.find_order(order_id, seen)
        if found is None:
            raise not_found(order_id)
        return found[0]

    async def order_named(self, account: str, client_order_id: str, seen: int = 0) -> OrderView | None:
        """The account's newest order with that name. One missing at first is looked for in all that was done."""
        await self.catch_up(seen)
        page = Page((("o.account = ?", account), ("o.client_order_id = ?", client_order_id)), 1, None)
        items, _ = await self._history.orders(page)
        if not items and (latest := await self.latest_sequence() or 0) > self._position.told:
            await self.catch_up(latest, known=True)
            items, _ = await self._history.orders(page)
        return items[0] if items else None

    async def find_named(self, account: str, client_order_id: str) -> int | None:
        order = await self.order_named(account, client_order_id)
        return None if order is None else order.order_id

    async def find_order(self, order_id: int, seen: int = 0) -> tuple[OrderView, Instrument] | None:
        """The order and its instrument. An order missing at first is looked for in all that the matcher has done."""
        await self.catch_up(seen)
        found = await self._history.order(order_id)
        if found is None and (latest := await self.latest_sequence() or 0) > self._position.told:
            await self.catch_up(latest, known=True)
            found = await self._history.order(order_id)
        return found

    async def orders(self, page: Page, seen: int) -> tuple[list[OrderView], str | None]:
        await self.catch_up(seen)
        return await self._history.orders(page)

    async def trades(self, page: Page, seen: int) -> tuple[list[TradeView], str | None]:
        await self.catch_up(seen)
        return await self._history.trades(page)

    async def order_history(self, order_id: int, page: Page, seen: int) -> tuple[list[OrderEventView], str | None]:
        await self.catch_up(seen)
        return await self._history.order_history(order_id, page)

    async def account(self, account: str, seen: int) -> AccountView:
        await self.catch_up(seen)
        return await self._history.account(account)

    async def candles(self, symbol: str, asked: CandleRange, seen: int) -> list[CandleView]:
        await self.catch_up(seen)
        listed = [each for each in await self._history.instruments() if each.symbol == symbol]
        if not listed:
            raise not_listed(symbol)
        reached = await self._history.reached()
        now = clock.now()
        candles = await self._history.candles(symbol, asked)
        complete_until = await self._complete_until(*reached, now) if candles else 0
        return [
            candle_view(
                candle,
                asked.interval,
                listed[0],
                is_complete=candle.open_time + INTERVALS[asked.interval] <= complete_until,
            )
            for candle in candles
        ]

    async def _complete_until(self, sequence: int, time_of_last_commit: int, now: int) -> int:
        """Up to when no trade can be missing from what Postgres had when it was asked, `now` by our clock.

        The time of the last commit recorded, since none goes back in time; or, when the journal holds no later one,
        a while ago: longer than a commit may be on its way.
        """
        quiet_until = now - _COMMIT_UNDER_WAY
        if quiet_until > time_of_last_commit and await self.latest_sequence() == sequence:
            return quiet_until
        return time_of_last_commit

    async def instruments(self, seen: int) -> list[Instrument]:
        """From the history; from the matcher while that is not to be had."""
        try:
            await self.catch_up(seen)
            return await self._history.instruments()
        except Declined as error:
            if error.problem.code not in ("history_unavailable", "reads_behind"):
                raise
            return await self._instruments.all()

    async def instrument(self, symbol: str, seen: int) -> InstrumentView:
        for instrument in await self.instruments(seen):
            if instrument.symbol == symbol:
                return instrument_view(instrument)
        raise not_listed(symbol)

    async def depth(self, symbol: str, levels: int, seen: int) -> bytes:
        return await self._market_data(BROADCASTER_DEPTH, symbol, seen, levels=levels)

    async def market(self, symbol: str, seen: int) -> bytes:
        return await self._market_data(BROADCASTER_MARKET, symbol, seen)

    async def catch_up(self, seen: int, *, known: bool = False) -> None:
        """Wait until Postgres has what the client was told. `known`: that sequence is sure to be in the journal."""
        if self._history.is_silent:
            raise unavailable()
        if not known:
            await self._check_seen(seen)
        target = max(self._position.told, seen)
        if await self._position.wait(target, self._wait_seconds):
            return
        self._position.announce(await self._history.position())  # an announcement can be lost, a row cannot
        if self._position.reached < target:
            raise _behind(target, self._position.reached)

    async def latest_sequence(self) -> int | None:
        """The end of the journal, None if the matcher cannot be asked."""
        try:
            answer = await ask(self._connection, MATCHER_STATUS, b"{}", self._wait_seconds, "matcher_unavailable")
        except Declined:
            return None
        return _status_decoder.decode(answer).sequence

    async def _check_seen(self, seen: int) -> None:
        """A sequence that the journal has not reached will not be reached by waiting."""
        if seen <= max(self._position.told, self._position.reached):
            return
        latest = await self.latest_sequence()
        if latest is not None and seen > latest:
            raise declined(
                "unknown_sequence",
                f"The journal ends at {latest}; send the Journal-Sequence of an answer that you were given, or none.",
                "Journal-Sequence",
            )

    async def _market_data(self, subject: str, symbol: str, seen: int, **question: int) -> bytes:
        if not is_symbol(symbol):
            raise not_listed(symbol)
        await self._check_seen(seen)
        target = max(self._position.told, seen)
        asked = _encode({"symbol": symbol, "min_sequence": target, **question})
        answer = await ask(self._connection, subject, asked, self._wait_seconds + 1, "market_data_unavailable")
        error = _error_decoder.decode(answer).error
        if error is None:
            return answer
        raise not_listed(symbol) if error == "unknown_symbol" else _behind(target)


def _behind(target: int, reached: int | None = None) -> Declined:
    at = "" if reached is None else f" and is at {reached}"
    return declined(
        "reads_behind",
        f"You were told of journal sequence {target}; what can be read has not come so far yet{at}. Ask again after "
        "Retry-After seconds.",
    )
