"""The market as it is now: folded commit by commit, shown to those who watch, waited for by those who ask."""

import asyncio
import time

import msgspec

from broadcaster.feed import DepthFeed, TradeFeed
from broadcaster.market import Market, Trade
from contracts.commits import Chain
from contracts.views import DepthView, MarketView

_encoder = msgspec.json.Encoder()


class Live:
    def __init__(self) -> None:
        self.market = Market()
        self.position = Chain()
        self.trades = TradeFeed()
        self.depths = DepthFeed(self.depth)
        self.caught_up = asyncio.Event()
        """Set once the journal's end as it was at the start has been folded; before that nothing is shown."""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def clients(self) -> int:
        return len(self.trades) + len(self.depths)

    def restore(self, market: Market, position: Chain) -> None:
        """Go on from a snapshot."""
        self.market = market
        self.position = position

    def fold(self, sequence: int, payload: bytes) -> list[Trade]:
        """The next journal message; returns its trades. Raises JournalBroken."""
        return self.market.apply(self.position.follow(sequence, payload))

    def open(self) -> None:
        """From now on new trades are shown as they come. Those kept from before can only be asked for."""
        recent = self.market.recent
        self.trades = TradeFeed(self.market.last_trade_id - len(recent))
        self.trades.publish(self.encoded(list(recent)))
        self.caught_up.set()

    def encoded(self, trades: list[Trade]) -> list[tuple[str, bytes]]:
        """Symbol and JSON of each."""
        view = self.market.trade_view
        return [(trade.executed.symbol, _encoder.encode(view(trade))) for trade in trades]

    def passed(self) -> None:
        """Wake those who waited for a commit that is folded now."""
        for sequence, reached in self._waiting:
            if sequence <= self.position.sequence and not reached.done():
                reached.set_result(None)
        self._waiting = [each for each in self._waiting if not each[1].done()]

    async def reach(self, sequence: int, timeout_seconds: float) -> bool:
        """Wait until it has caught up and folded the commit; False if that takes longer."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.caught_up.wait()
                if sequence > self.position.sequence:
                    reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiting.append((sequence, reached))
                    await reached
        except TimeoutError:
            return False
        return True

    def depth(self, symbol: str, levels: int) -> DepthView:
        return self.market.depth(symbol, levels)

    def view(self, symbol: str) -> MarketView:
        return self.market.view(symbol, time.time_ns() // 1000)
