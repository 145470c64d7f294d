"""A journal made by hand: chained commits with outcomes chosen by the test, as messages or written to a real stream."""

from collections.abc import Iterable

from nats.aio.client import Client

from contracts.commits import VERSION, Chain, encode_commit
from contracts.messages import (
    CancelOrder,
    Command,
    Commit,
    DefineInstrument,
    InstrumentDefined,
    LevelChanged,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
    TradeExecuted,
)
from contracts.subjects import JOURNAL
from runtime.journal import ensure_stream

START = 1_700_000_000_000_000
SYMBOL = "BTC-USD"

Step = tuple[Command, Outcome]


class HandmadeJournal:
    """Builds the next message; knows the next order and trade id."""

    def __init__(self, epoch: str = "handmade") -> None:
        self.position = Chain()
        self.messages: list[bytes] = []
        self.time = START
        self.trade_id = 0
        self._epoch = epoch
        self._order_id = 0

    def commit(self, steps: Iterable[Step] = (), *, barrier: bool = False) -> Commit:
        steps = list(steps)
        commit = Commit(
            version=VERSION,
            journal_epoch=self._epoch,
            matcher_epoch=self.position.matcher_epoch + barrier,
            sequence=self.position.sequence + 1,
            previous_hash=self.position.hash,
            time=self.time,
            commands=tuple(command for command, _ in steps),
            outcomes=tuple(outcome for _, outcome in steps),
            state_hash=b"s" * 32 if barrier else None,
        )
        message, digest = encode_commit(commit)
        self.position.advance(commit, digest)
        self.messages.append(message)
        return commit

    def begin(self, *symbols: str) -> None:
        """The first barrier, and a commit that lists the symbols (ticks of 0.01, lots of 0.001)."""
        self.commit(barrier=True)
        self.commit([self.listed(symbol) for symbol in symbols or (SYMBOL,)])

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
        """A buy that takes `quantity` from the asks at `price`, `fills` times; `left` stays there."""
        self._order_id += 1
        events = [self._trade(price, quantity, symbol) for _ in range(fills)]
        levels = (LevelChanged(symbol, Side.SELL, price, left),)
        outcome = Outcome((OrderAccepted(self._order_id), *events), levels)
        return _place(symbol, Side.BUY, price, quantity * fills), outcome

    def _trade(self, price: int, quantity: int, symbol: str) -> TradeExecuted:
        self.trade_id += 1
        return TradeExecuted(self.trade_id, symbol, price, quantity, Side.BUY, self._order_id, self._order_id + 1)


def _place(symbol: str, side: Side, price: int, quantity: int) -> PlaceOrder:
    return PlaceOrder(symbol, side, OrderType.LIMIT, quantity, price)


class JournalWriter:
    """Writes a handmade journal to JetStream as it grows."""

    def __init__(self, connection: Client, journal: HandmadeJournal) -> None:
        self.journal = journal
        self._connection = connection
        self._written = 0

    async def create(self) -> None:
        assert await ensure_stream(self._connection, 1) == []

    async def write(self) -> None:
        """Store what is new, each message where it belongs."""
        stream = self._connection.jetstream()
        for message in self.journal.messages[self._written :]:
            ack = await stream.publish(JOURNAL, message, timeout=10)
            self._written += 1
            assert ack.seq == self._written
