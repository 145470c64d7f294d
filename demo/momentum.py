"""Momentum: buys what has been rising and sells what has been falling, and goes out again when that ends.

It looks at trades only, and takes what is there with orders that never rest (IOC).
"""

import asyncio
import random
from collections import deque
from decimal import Decimal

from demo.markets import Market
from pricetime_client import AsyncExchange, Refusal, Side, Subscription, TradeMessage

MEMORY = 40
"""Trades that it compares: the younger half with the older."""
LARGEST_POSITION = 10
"""In usual orders."""
PAUSE_SECONDS = 1.5


class MomentumTrader:
    def __init__(self, exchange: AsyncExchange, market: Market) -> None:
        self._exchange = exchange
        self._market = market
        self._prices: deque[Decimal] = deque(maxlen=MEMORY)
        self._position = Decimal(0)

    async def run(self, speed: float) -> None:
        account = await self._exchange.account()
        self._position = account.positions.get(self._market.symbol, Decimal(0))
        async with self._exchange.stream() as stream, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(stream.subscribe("trades", symbol=self._market.symbol)))
            while True:
                await asyncio.sleep(random.expovariate(1) * PAUSE_SECONDS / speed)
                await self._act()

    async def _watch(self, trades: Subscription[TradeMessage]) -> None:
        async for message in trades:
            self._prices.append(message.trade.price)

    async def _act(self) -> None:
        side = self._wish()
        if side is None:
            return
        reach = self._market.spacing * 3
        last = self._prices[-1]
        price = self._market.on_tick(last + reach if side == "buy" else last - reach)
        try:
            order = await self._exchange.place(
                symbol=self._market.symbol,
                side=side,
                price=price,
                quantity=self._market.quantity(),
                time_in_force="IOC",
            )
        except Refusal:  # such as a halted market: it comes again
            return
        self._position += order.filled_quantity if side == "buy" else -order.filled_quantity

    def _wish(self) -> Side | None:
        if len(self._prices) < MEMORY:
            return None
        trend = self._trend()
        most = LARGEST_POSITION * self._market.quantity()
        if trend > self._market.spacing and self._position < most:
            return "buy"
        if trend < -self._market.spacing and self._position > -most:
            return "sell"
        if abs(trend) < self._market.spacing / 2 and self._position:  # over: out again
            return "sell" if self._position > 0 else "buy"
        return None

    def _trend(self) -> Decimal:
        """How much higher the younger half of the trades was, on average."""
        half = MEMORY // 2
        prices = list(self._prices)
        return (sum(prices[half:], Decimal(0)) - sum(prices[:half], Decimal(0))) / half
