"""Clients of the simulated exchange: each places, cancels and asks, through order entry's own MatcherClient.

Every order has a quantity that no other has, so the journal tells whose it is. What each was told is written down for
simulation/invariants.py.
"""

import asyncio
import json
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from nats.errors import Error as NatsError

from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    AnswerPart,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    OrderAccepted,
    OrderType,
    Outcome,
    PlaceOrder,
    Repeated,
    Result,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
)
from contracts.subjects import MATCHER_ORDER, MATCHER_STANDBY, MATCHER_STATE_HASH
from entry.matcher_client import MatcherClient
from entry.problems import Declined
from runtime.clock import now
from runtime.connection import connect
from runtime.micro import is_failure

if TYPE_CHECKING:
    from simulation.world import World

SYMBOL = "BTC-USD"
_TIMEOUT_SECONDS = 3.0


@dataclass
class Operation:
    """One command from its sending to what its client was told. `floor`: the highest journal sequence that any client
    had been told before it began."""

    client: str
    command: ClientCommand
    began: float
    floor: int
    ended: float | None = None
    part: AnswerPart | None = None
    result: Result | None = None
    retried: bool = False
    declined: str | None = None

    @property
    def is_unknown(self) -> bool:
        return self.result is None and self.declined in (None, "result_unknown")


@dataclass
class Read:
    """What the matcher, or a standby, said of its state."""

    subject: str
    floor: int
    sequence: int
    content: dict[str, Any]
    question: dict[str, Any] = field(default_factory=dict)


class Client:
    """`stop_soon` ends its work; `finish` then asks for one thing more, which must succeed."""

    def __init__(self, world: "World", number: int, random: Random, commands: int) -> None:
        self.world = world
        self.name = f"client-{number}"
        self._account = f"account-{number}"
        self._random = random
        self._left = commands
        self._orders: list[int] = []
        self._placed: list[PlaceOrder] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self.served = False
        """Whether its last order, after all faults, has been answered."""

    async def run(self) -> None:
        connection = await connect("nats://simulated", self.name)
        self._connection = connection
        self._matcher = MatcherClient(connection, _TIMEOUT_SECONDS, 1_000, 0.7)
        await self._matcher.start()
        running = asyncio.ensure_future(self._matcher.run())
        while self._left > 0:
            await asyncio.sleep(self._random.random() * self.world.pace)
            self._left -= 1
            self._begin(self._next())
        await self.world.calm.wait()
        await self._finish()
        running.cancel()

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _finish(self) -> None:
        while self._under_way:
            await asyncio.wait(list(self._under_way))
        while not self.served:
            operation = await self._send(self._order(with_id=True))
            self.served = operation.result is not None
            if not self.served:
                await asyncio.sleep(0.5)

    def _next(self) -> Any:
        chance = self._random.random()
        if chance < 0.55:
            return self._send(self._order(with_id=self._random.random() < 0.6))
        if chance < 0.65 and self._placed:
            return self._send(self._random.choice(self._placed))
        if chance < 0.80 and self._orders:
            return self._send(CancelOrder(self._random.choice(self._orders), (self._account,)))
        if chance < 0.86 and self._orders:
            return self._send(AmendOrder(self._random.choice(self._orders), quantity=self.world.unique()))
        if chance < 0.88:
            return self._send(CancelAllAfter(self._account, self._random.choice((0, 400_000, 2_000_000))))
        if chance < 0.90:
            return self._send(CancelOrders((self._account,)))
        if chance < 0.92:
            return self._send(AllOrNothing((self._order(with_id=True), self._order(with_id=True))))
        if chance < 0.95:
            return self._read(MATCHER_STATE_HASH, {})
        if chance < 0.97:
            return self._ask_standby()
        placed = self._random.choice(self._placed) if self._placed else None
        name = placed.client_order_id if placed else "none"
        return self._read(MATCHER_ORDER, {"account": self._account, "client_order_id": name})

    def _order(self, *, with_id: bool) -> PlaceOrder:
        random = self._random
        number = self.world.unique()
        kind, terms, price, lasts = OrderType.LIMIT, None, random.randint(98, 102), TimeInForce.GTC
        chance = random.random()
        if chance < 0.08:
            lasts, terms = TimeInForce.GTD, Terms(expires_at=now() + random.randint(100_000, 2_000_000))
        elif chance < 0.14:
            kind, terms = OrderType.STOP_LIMIT, Terms(stop_price=random.randint(97, 103))
        elif chance < 0.20:
            terms = Terms(self_trade_prevention=SelfTradePrevention.CANCEL_OLDEST)
        elif chance < 0.26:
            lasts = TimeInForce.IOC
        order = PlaceOrder(
            SYMBOL,
            random.choice((Side.BUY, Side.SELL)),
            kind,
            number,
            price,
            lasts,
            account=self._account,
            client_order_id=f"id-{number}" if with_id else None,
            terms=terms,
        )
        if with_id:
            self._placed.append(order)
        return order

    async def _send(self, command: ClientCommand) -> Operation:
        operation = Operation(self.name, command, self.world.loop.time(), self.world.told)
        self.world.operations.append(operation)
        try:
            decided = await self._matcher.submit(command)
        except Declined as problem:
            operation.declined = problem.problem.code
            self.world.say(f"{self.name}: {_short(command)} -> {operation.declined}")
        else:
            operation.part, operation.result = decided.part, decided.result
            operation.retried = decided.retried
            self.world.tell(decided.part.sequence)
            self.world.say(f"{self.name}: {_short(command)} -> {decided.part.sequence}: {_brief(decided.result)}")
            self._learn(decided.result)
        operation.ended = self.world.loop.time()
        return operation

    def _learn(self, result: Result) -> None:
        match result:
            case Outcome(events=events):
                self._orders += [event.order_id for event in events if isinstance(event, OrderAccepted)]
            case Repeated(order_id=order_id):
                self._orders.append(order_id)

    async def _read(self, subject: str, question: dict[str, Any]) -> None:
        floor = self.world.told
        try:
            reply = await self._connection.request(subject, json.dumps(question).encode(), timeout=2)
        except (NatsError, TimeoutError):
            return
        if is_failure(reply):
            return
        content = json.loads(reply.data)
        self.world.say(f"{self.name}: {subject} -> {content}")
        self.world.tell(content["sequence"])
        self.world.reads.append(Read(subject, floor, content["sequence"], content, question))

    async def _ask_standby(self) -> None:
        """The hash of its state, there where the matcher is."""
        at = self.world.told
        try:
            reply = await self._connection.request(
                MATCHER_STANDBY, json.dumps({"state_hash_at": at}).encode(), timeout=2
            )
        except (NatsError, TimeoutError):
            return
        content = json.loads(reply.data)
        self.world.say(f"{self.name}: {MATCHER_STANDBY} -> {content}")
        if content.get("hash") is not None:
            self.world.reads.append(Read(MATCHER_STANDBY, 0, at, content))


def _short(command: ClientCommand) -> str:
    match command:
        case PlaceOrder(client_order_id=name, quantity=quantity, side=side, price=price):
            return f"place {side.value} {quantity} at {price} ({name})"
    return str(command)


def _brief(result: Result) -> str:
    if isinstance(result, Outcome):
        return ", ".join(type(event).__name__ for event in result.events)
    return str(result)
