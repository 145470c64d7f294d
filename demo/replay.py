"""A recorded day, sent as it was: every order of the file is placed and canceled when its time comes, again and again.

What was filled on that day is not in it: it was because of other orders, and so it will be here.
"""

import asyncio
import csv
import lzma
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from pricetime_client import AsyncExchange, BatchItem, OrderFields, Side

BATCH = 500
_SIDES: dict[str, Side] = {"bid": "buy", "ask": "sell"}
_VOLUME_UNIT = Decimal("0.00000001")


class Event(NamedTuple):
    """An order was created, or deleted with `volume` left."""

    order: str
    milliseconds: int
    price: str
    volume: Decimal
    action: str
    side: Side


def read(file: Path) -> Iterator[Event]:
    with lzma.open(file, "rt") if file.suffix == ".xz" else file.open() as rows:
        for row in csv.DictReader(rows):
            event = Event(
                row["id"],
                int(row["timestamp"]),
                row["price"],
                int(row["volume"]) * _VOLUME_UNIT,
                row["action"],
                _SIDES[row["direction"]],
            )
            if event.volume and event.action in ("created", "deleted"):
                yield event


class Replay:
    """`symbol`: where the file's orders go."""

    def __init__(self, exchange: AsyncExchange, symbol: str, file: Path) -> None:
        self._exchange = exchange
        self._symbol = symbol
        self._file = file
        self._order_ids: dict[str, int] = {}
        self._batch: list[tuple[str, BatchItem]] = []

    async def run(self, speed: float) -> None:
        while True:
            await self._exchange.cancel_all(symbol=self._symbol)
            self._order_ids.clear()
            await self._play(speed)

    async def _play(self, speed: float) -> None:
        """The file once. What is due at the same time is sent as one batch."""
        began, first = time.monotonic(), None
        for event in read(self._file):
            first = event.milliseconds if first is None else first
            pause = (event.milliseconds - first) / 1000 / speed - (time.monotonic() - began)
            if pause > 0 or len(self._batch) == BATCH:
                await self._flush()
                await asyncio.sleep(max(pause, 0))
            await self._add(event)
        await self._flush()

    async def _add(self, event: Event) -> None:
        if event.action == "created":
            order: OrderFields = {
                "symbol": self._symbol,
                "side": event.side,
                "price": event.price,
                "quantity": event.volume,
            }
            self._batch.append((event.order, {"place": order}))
            return
        if event.order not in self._order_ids:
            await self._flush()
        if (order_id := self._order_ids.pop(event.order, None)) is not None:
            self._batch.append((event.order, {"cancel": {"order_id": order_id}}))

    async def _flush(self) -> None:
        """Refusals are part of the day: an order that is to be canceled may have traded here."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        results = await self._exchange.batch([item for _, item in batch])
        for (name, item), result in zip(batch, results, strict=True):
            if "place" in item and result.order is not None:
                self._order_ids[name] = result.order.order_id
