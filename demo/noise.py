"""Noise: people who buy and sell for reasons of their own, at random times; most with small orders."""

import asyncio
import random
from collections import deque

from demo.markets import Market
from pricetime_client import AsyncExchange, LocalBook, Refusal, Side

PAUSE_SECONDS = 0.4
"""Between two of their orders, on average."""
PATIENT_ORDERS = 40
"""That wait in the book; with more, the oldest gives up."""


class NoiseTraders:
    def __init__(self, exchange: AsyncExchange, market: Market) -> None:
        self._exchange = exchange
        self._market = market
        self._waiting: deque[int] = deque()

    async def run(self, speed: float) -> None:
        await self._exchange.cancel_all(symbol=self._market.symbol)
        async with self._exchange.stream() as stream:
            feed = await stream.book(self._market.symbol, levels=5)
            while True:
                await asyncio.sleep(random.expovariate(1) * PAUSE_SECONDS / speed)
                if feed.book.is_live:  # nobody trades on what may be old
                    await self._act(feed.book)

    async def _act(self, book: LocalBook) -> None:
        side: Side = random.choice(("buy", "sell"))
        try:
            if random.random() < 0.5:
                await self._take(side)
            else:
                await self._wait(side, book)
        except Refusal:  # such as a halted market: they come again
            pass

    async def _take(self, side: Side) -> None:
        """Now, at whatever price there is."""
        quantity = self._market.quantity()
        await self._exchange.place(symbol=self._market.symbol, side=side, type="market", quantity=quantity)

    async def _wait(self, side: Side, book: LocalBook) -> None:
        """Somewhere near the best price, and with patience."""
        best = book.best_bid if side == "buy" else book.best_ask
        if best is None:
            return
        away = self._market.spacing * random.randint(-20, 1500) / 100
        price = self._market.on_tick(best.price - away if side == "buy" else best.price + away)
        order = await self._exchange.place(
            symbol=self._market.symbol, side=side, price=price, quantity=self._market.quantity()
        )
        if order.is_open:
            self._waiting.append(order.order_id)
        if len(self._waiting) > PATIENT_ORDERS:
            await self._exchange.cancel(self._waiting.popleft())  # refused if it was filled meanwhile
