"""A journal whose outcomes are made by hand: levels and trades as a test wants them, without an engine's opinion."""

from collections.abc import Iterable

from nats.aio.client import Client

from contracts.commits import Chain
from contracts.messages import (
    AllOrNothing,
    CancelOrder,
    Command,
    Commit,
    DefineInstrument,
    InstrumentDefined,
    ItemStarted,
    LevelChanged,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
    TradeExecuted,
)
from tests.support.journals import STEP, Journal, publish

SYMBOL = "BTC-USD"

Step = tuple[Command, Outcome]


class HandmadeJournal(Journal):
    """Knows the next order and trade id."""

    def __init__(self, journal_epoch: str = "handmade") -> None:
        super().__init__(journal_epoch)
        self.trade_id = 0
        self._order_id = 0

    @property
    def position(self) -> Chain:
        """After the last commit."""
        return self._chain

    @property
    def messages(self) -> list[bytes]:
        return [each.payload for each in self.written]

    @property
    def time(self) -> int:
        """The time of the next commit."""
        return self._chain.time + STEP

    @time.setter
    def time(self, microseconds: int) -> None:
        self._chain.time = microseconds - STEP

    def next(self, steps: Iterable[Step] = ()) -> Commit:
        return self.commit(*steps).commit

    def begin(self, *symbols: str) -> None:
        """The first barrier, and a commit that lists the symbols (ticks of 0.01, lots of 0.001)."""
        self.barrier()
        self.next(self.listed(symbol) for symbol in symbols or (SYMBOL,))

    def listed(self, symbol: str = SYMBOL) -> Step:
        return DefineInstrument(symbol, "0.01", "0.001"), Outcome((InstrumentDefined(symbol),))

    def resting(self, side: Side, price: int, quantity: int, symbol: str = SYMBOL) -> Step:
        """An order that rests; `quantity` is also the new total of its level."""
        self._order_id += 1
        levels = (LevelChanged(symbol, side, price, quantity),)
        return _place(symbol, side, price, quantity), Outcome((OrderAccepted(self._order_id),), levels)

    def emptied(self, side: Side, price: int, symbol: str = SYMBOL) -> Step:
        """A level whose last order is gone."""
        return CancelOrder(1), Outcome((), (LevelChanged(symbol, side, price, 0),))

    def traded(self, price: int, quantity: int, symbol: str = SYMBOL, *, left: int = 0, fills: int = 1) -> Step:
        """A sell and a buy of one batch that trade `quantity`, `fills` times; `left` stays at the sell's price."""
        maker, taker = self._order_id + 1, self._order_id + 2
        self._order_id = taker
        both = [_place(symbol, side, price, quantity * fills) for side in (Side.SELL, Side.BUY)]
        trades = [self._trade(price, quantity, symbol, maker, taker) for _ in range(fills)]
        events = (ItemStarted(0), OrderAccepted(maker), ItemStarted(1), OrderAccepted(taker), *trades)
        return AllOrNothing(tuple(both)), Outcome(events, (LevelChanged(symbol, Side.SELL, price, left),))

    def _trade(self, price: int, quantity: int, symbol: str, maker: int, taker: int) -> TradeExecuted:
        self.trade_id += 1
        return TradeExecuted(self.trade_id, symbol, price, quantity, Side.BUY, maker, taker)


def _place(symbol: str, side: Side, price: int, quantity: int) -> PlaceOrder:
    return PlaceOrder(symbol, side, OrderType.LIMIT, quantity, price)


class JournalWriter:
    """Writes a handmade journal to JetStream as it grows."""

    def __init__(self, connection: Client, journal: HandmadeJournal) -> None:
        self.journal = journal
        self._connection = connection
        self._written = 0

    async def write(self) -> None:
        """Store what is new; the first time, create the stream."""
        new = self.journal.written[self._written :]
        await publish(self._connection, new)
        self._written += len(new)
