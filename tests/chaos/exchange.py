"""A run to judge: the real engine and group commit, several clients, and everything they and the parts would have told.

The records are true, so the checker must find nothing; tests then change one thing and see it found.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from chaos.checker import Journal, read_journal
from chaos.ledger import Ledger
from chaos.records import (
    DepthRead,
    Done,
    Operation,
    OrderRead,
    Recorded,
    Records,
    Refused,
    StateHash,
    TradesSeen,
    UpdatesSeen,
)
from contracts.commits import Chain, encode_commit
from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    Answer,
    AnswerPart,
    CancelOrder,
    ClientCommand,
    DefineInstrument,
    OrderType,
    Outcome,
    PlaceOrder,
    Reply,
    Side,
)
from contracts.orders import item_events
from contracts.views import Instrument, answer_view, order_view, trade_view
from matcher.engine import Engine
from matcher.sequencer import Sealed, Sequencer, next_commit

SYMBOL = "BTC-USD"
INSTRUMENT = Instrument(SYMBOL, "0.01", "0.001", 1, 10**12)
_decoder = msgspec.msgpack.Decoder(Reply)
_START = 1_700_000_000_000_000


@dataclass
class Client:
    name: str
    chance: random.Random
    number: int = 0
    open: list[int] = field(default_factory=list)

    def wish(self) -> ClientCommand:
        self.number += 1
        if self.open and self.chance.random() < 0.3:
            return CancelOrder(self.open.pop(self.chance.randrange(len(self.open))))
        if self.open and self.chance.random() < 0.2:
            return AmendOrder(self.chance.choice(self.open), quantity=self.chance.randint(5, 90))
        if self.chance.random() < 0.1:
            return AllOrNothing((self.order("a"), self.order("b")))
        return self.order()

    def order(self, suffix: str = "") -> PlaceOrder:
        side = self.chance.choice([Side.BUY, Side.SELL])
        name = f"{self.name}-{self.number}{suffix}"
        price = 10_000 + self.chance.randint(-5, 5)
        return PlaceOrder(
            SYMBOL, side, OrderType.LIMIT, self.chance.randint(1, 9), price, account=self.name, client_order_id=name
        )


@dataclass
class Run:
    """Clients send, now and then a commit is sealed, and then they have their answers."""

    seed: int
    journal: list[tuple[int, bytes]] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    hashes: list[StateHash] = field(default_factory=list)
    depths: list[DepthRead] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clients = [Client(f"c{n}", random.Random(self.seed + n)) for n in range(4)]
        self.time = 0.0
        engine, chain = Engine(), Chain()
        barrier = next_commit(chain, _START, barrier_state=engine.state_hash(), journal_epoch="run")
        payload, digest = encode_commit(barrier)
        self.journal.append((1, payload))
        chain.advance(barrier, digest)
        self.sequencer = Sequencer(engine, chain, 10_000)
        self._waiting: dict[str, tuple[Client, Operation]] = {}

    def play(self, steps: int) -> "Run":
        define = DefineInstrument(SYMBOL, INSTRUMENT.tick_size, INSTRUMENT.lot_size)
        self.sequencer.submit("", msgspec.msgpack.encode((define,)), _START)
        self.seal()
        for _ in range(steps):
            idle = [each for each in self.clients if each.name not in self._waiting]
            if idle and self.chance.random() < 0.7:
                self.send(self.chance.choice(idle))
            else:
                self.seal()
        self.seal()
        return self

    def send(self, client: Client) -> None:
        self.give(client, client.wish())

    def give(self, client: Client, wish: ClientCommand) -> None:
        self.time += 0.001
        self._waiting[client.name] = (client, Operation(client.name, wish, self.time))
        self.sequencer.submit(client.name, msgspec.msgpack.encode((wish,)), _START + int(self.time * 1e6))

    def seal(self) -> None:
        sealed = self.sequencer.seal(_START + int(self.time * 1e6))
        if sealed is None:
            return
        if sealed.payload is not None:
            self.journal.append((sealed.sequence, sealed.payload))
        self._answer(sealed)
        self._look(sealed.sequence)

    def _answer(self, sealed: Sealed) -> None:
        for name, payload in sealed.answers:
            if name not in self._waiting:
                continue
            self.time += 0.001
            client, operation = self._waiting.pop(name)
            if self.chance.random() < 0.1:
                self.operations.append(operation)  # the answer is lost
                continue
            reply = _decoder.decode(payload)
            assert isinstance(reply, Answer)
            self.operations.append(self._answered(client, operation, reply.parts[0]))

    def _answered(self, client: Client, operation: Operation, part: AnswerPart) -> Operation:
        (result,) = part.results
        if not isinstance(result, Outcome):
            code = "order_not_resting" if result.reason.value == "unknown_order" else result.reason.value  # type: ignore[union-attr]
            return replace(operation, returned=self.time, result=Refused(code, part.sequence))
        shown: Any = result
        if isinstance(operation.command, PlaceOrder | CancelOrder | AmendOrder):
            shown = msgspec.to_builtins(answer_view(part, operation.command, result.events, INSTRUMENT))
            if shown["status"] in ("open", "partially_filled") and shown["order_id"] not in client.open:
                client.open.append(shown["order_id"])
        elif isinstance(operation.command, AllOrNothing) and self.chance.random() < 0.5:
            shown = {"items": _items(part, operation.command, result)}
        return replace(operation, returned=self.time, result=Done(part.sequence, shown))

    def _look(self, sequence: int) -> None:
        if self.chance.random() < 0.1:
            self.hashes.append(StateHash("leader", sequence, self.sequencer.engine.state_hash()))
        if self.chance.random() < 0.1:
            bids, asks = (
                [(INSTRUMENT.tick.format(price), INSTRUMENT.lot.format(total)) for price, total in levels]
                for levels in self.sequencer.engine.depth(SYMBOL)
            )
            self.depths.append(DepthRead("c0", SYMBOL, sequence, sequence, bids, asks))

    def records(self) -> Records:
        """True in every point."""
        bare = Records(self.journal, self.operations, depth_reads=self.depths, state_hashes=self.hashes)
        journal, _ = read_journal(bare)
        return replace(
            bare,
            order_reads=_order_reads(journal),
            trades_seen=[
                TradesSeen("c1", _trades(journal), 0, until=journal.end),
                TradesSeen("c2", _trades(journal)[7:]),
            ],
            updates_seen=[UpdatesSeen("c0", "c0", tuple(journal.ledger.updates["c0"]), (0, 0), until=journal.end)],
            recorded=_recorded(self.journal, journal.ledger),
        )


def _items(part: AnswerPart, command: AllOrNothing, outcome: Outcome) -> list[dict[str, Any]]:
    views = [
        answer_view(part, item, item_events(number, outcome.events), INSTRUMENT)
        for number, item in enumerate(command.items)
    ]
    return [{"status": 201, "order": msgspec.to_builtins(view)} for view in views]


def _trades(journal: Journal) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(trade_view(trade, INSTRUMENT, time)) for trade, _, time in journal.ledger.trades]


def _order_reads(journal: Journal) -> list[OrderRead]:
    return [
        OrderRead("c3", order_id, sequence, shown(change))
        for order_id, entry in journal.ledger.orders.items()
        for change in entry.history[:2]
        for sequence in [change[0]]
    ]


def shown(change: tuple[int, int, Any]) -> dict[str, Any]:
    sequence, time, (order, status, reason) = change
    view = order_view(order, INSTRUMENT, status=status, reason=reason, updated_at=time, sequence=sequence)
    made: dict[str, Any] = msgspec.to_builtins(view)
    return made


def _recorded(journal: list[tuple[int, bytes]], ledger: Ledger) -> Recorded:
    return Recorded(
        len(journal),
        list(journal),
        [(t.trade_id, t.price, t.quantity, t.maker_order_id, t.taker_order_id, s) for t, s, _ in ledger.trades],
        [(number, e.account, e.quantity, e.filled, e.status.value) for number, e in sorted(ledger.orders.items())],
        [(account, symbol, quantity) for (account, symbol), quantity in ledger.positions.items()],
    )
