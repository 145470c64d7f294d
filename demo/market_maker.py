"""A market maker: always there to buy a little lower and to sell a little higher, on many prices.

It follows its own orders on the stream, so that it knows at any time what it has in the market, whatever was filled,
and sends what differs from what it wants as one batch, over the same connection: should that break, its quotes go.
"""

import asyncio
import random
from collections.abc import Iterator
from decimal import Decimal

from demo.markets import Market, rounded
from pricetime_client import AsyncExchange, BatchItem, Order, OrdersSnapshot, OrderUpdate, Side, Stream

LEVELS = 25
"""Prices on each side that it quotes."""
BATCH = 500
PAUSE_SECONDS = 0.5
_PERSISTENCE = Decimal("0.9")
"""How much of a swing is left half a second later."""
_FRESH = 0.04
"""The part of its quotes that it makes anew each time, with another quantity."""


class MarketMaker:
    def __init__(self, exchange: AsyncExchange, market: Market) -> None:
        self._exchange = exchange
        self._market = market
        self._fair = market.price
        self._swing = Decimal(0)
        self._inventory = Decimal(0)
        self._orders: dict[int, Order] = {}

    async def run(self, speed: float) -> None:
        await self._exchange.cancel_all(symbol=self._market.symbol)
        async with self._exchange.stream() as stream, asyncio.TaskGroup() as tasks:
            await stream.cancel_on_disconnect()
            tasks.create_task(self._follow_orders(stream))
            tasks.create_task(self._quote(stream, speed))

    async def _follow_orders(self, stream: Stream) -> None:
        async for message in stream.subscribe("orders", account="market-maker"):
            if isinstance(message, OrdersSnapshot):
                self._orders = {order.order_id: order for order in message.orders if self._is_mine(order)}
            elif self._is_mine(message.order):
                self._take(message)

    def _is_mine(self, order: Order) -> bool:
        return order.symbol == self._market.symbol

    def _take(self, update: OrderUpdate) -> None:
        order, trade = update.order, update.trade
        if order.is_open:
            self._orders[order.order_id] = order
        else:
            self._orders.pop(order.order_id, None)
        if trade is not None:
            self._inventory += trade.quantity if order.side == "buy" else -trade.quantity
            self._fair += (trade.price - self._fair) / 20  # who trades may know something

    async def _quote(self, stream: Stream, speed: float) -> None:
        while True:
            self._wander()
            changes = list(self._changes())
            for first in range(0, len(changes), BATCH):
                await stream.batch(changes[first : first + BATCH])  # what is refused is tried again next time
            await asyncio.sleep(PAUSE_SECONDS / speed)

    def _wander(self) -> None:
        """News come in swings; and who has bought much wants to sell."""
        market = self._market
        self._swing = self._swing * _PERSISTENCE + market.spacing * random.randint(-50, 50) / 100
        self._fair += self._swing
        lean = self._inventory * market.price / 1_000_000
        self._fair -= market.spacing * max(Decimal(-1), min(Decimal(1), lean)) / 2
        self._fair = max(self._fair, market.spacing * (LEVELS + 2))

    def _changes(self) -> Iterator[BatchItem]:
        wanted = set(self._wanted())
        kept = set()
        for order in list(self._orders.values()):
            place = order.side, order.price
            if place in wanted and place not in kept and random.random() > _FRESH:
                kept.add(place)
            else:
                yield {"cancel": {"order_id": order.order_id}}
        for side, price in sorted(wanted - kept):
            quantity = self._market.quantity()
            yield {
                "place": {
                    "symbol": self._market.symbol,
                    "side": side,
                    "price": price,
                    "quantity": quantity,
                    "post_only": True,
                }
            }

    def _wanted(self) -> Iterator[tuple[Side, Decimal]]:
        """Prices on a grid, so that most of them stay when the fair price moves."""
        spacing = self._market.spacing
        middle = rounded(self._fair, spacing)
        for level in range(1, LEVELS + 1):
            yield "buy", self._market.on_tick(middle - spacing * level)
            yield "sell", self._market.on_tick(middle + spacing * level)
