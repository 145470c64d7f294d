"""The listed instruments as this process knows them.

Tick and lot sizes never change, so those of an entry stay right; its limits and status may be old.
"""

import asyncio

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client

from contracts.messages import InstrumentStatus, RejectReason
from contracts.subjects import MATCHER_INSTRUMENTS, MATCHER_ORDER
from contracts.views import Instrument
from entry.problems import Declined, declined, quoted
from entry.services import ask


class _Listed(msgspec.Struct):
    items: list[Instrument]


_decoder = msgspec.json.Decoder(_Listed)


class _Order(msgspec.Struct):
    sequence: int
    symbol: str | None


_order_decoder = msgspec.json.Decoder(_Order)


class Instruments:
    def __init__(self, connection: Client, timeout_seconds: float) -> None:
        self._connection = connection
        self._timeout = timeout_seconds
        self._known: dict[str, Instrument] = {}
        self._lookups: list[asyncio.Task[None]] = []

    def known(self, symbol: str) -> Instrument | None:
        return self._known.get(symbol)

    async def find(self, symbol: str) -> Instrument | None:
        """The instrument, asking the matcher when it is not known here. Raises Declined if that cannot be asked."""
        if symbol not in self._known:
            await self._look_up()
        return self._known.get(symbol)

    async def get(self, symbol: str) -> Instrument:
        """The instrument. Raises Declined: unknown_symbol, or what `find` raises."""
        instrument = self._known.get(symbol) or await self.find(symbol)
        if instrument is None:
            raise declined(
                RejectReason.UNKNOWN_SYMBOL.value,
                f"No instrument {quoted(symbol)} is listed; GET /instruments lists them.",
                "symbol",
            )
        return instrument

    async def of_order(self, order_id: int) -> tuple[Instrument | None, int]:
        """The instrument of a resting order, None if no such order rests; and the journal sequence that says so."""
        question = msgspec.json.encode({"order_id": order_id})
        answer = await ask(self._connection, MATCHER_ORDER, question, self._timeout, "matcher_unavailable")
        order = _order_decoder.decode(answer)
        return None if order.symbol is None else await self.get(order.symbol), order.sequence

    async def after(self, changed: Instrument) -> Instrument:
        """The instrument as the matcher has it after a change; as it was asked to become if that cannot be asked."""
        try:
            await self._look_up()
        except Declined:
            self._known[changed.symbol] = changed
        return self._known.get(changed.symbol, changed)

    async def with_status(self, instrument: Instrument, status: InstrumentStatus) -> Instrument:
        return await self.after(replace(instrument, status=status))

    async def all(self) -> list[Instrument]:
        """Every listed instrument as the matcher has it now."""
        await self._look_up()
        return [self._known[symbol] for symbol in sorted(self._known)]

    async def _look_up(self) -> None:
        """Ask the matcher for the list. Whoever comes while a question is on its way shares the next one.

        So a flood of unknown symbols costs the matcher one question at a time, and nobody is given an answer from
        before they asked.
        """
        if len(self._lookups) < 2:
            before = self._lookups[-1] if self._lookups else None
            self._lookups.append(asyncio.create_task(self._ask_after(before)))
        await asyncio.shield(self._lookups[-1])

    async def _ask_after(self, before: "asyncio.Task[None] | None") -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            answer = await ask(self._connection, MATCHER_INSTRUMENTS, b"{}", self._timeout, "matcher_unavailable")
            self._known.update({each.symbol: each for each in _decoder.decode(answer).items})
        finally:
            self._lookups.pop(0)
