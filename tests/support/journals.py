"""Journals without a matcher: valid, chained commits from commands and outcomes, and publishing them.

journal = Journal()
journal.commit((command, outcome), (command, outcome))   # outcomes written by hand
journal.play(command, command)                           # outcomes as the engine gives them
await publish(connection, journal.written)
"""

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nats.aio.client import Client

from contracts.commits import VERSION, Chain, encode_commit
from contracts.messages import (
    AmendOrder,
    CancelOrder,
    Command,
    Commit,
    DefineInstrument,
    OrderType,
    Outcome,
    PlaceOrder,
    Side,
    TimeInForce,
)
from contracts.subjects import JOURNAL
from matcher.engine import Engine
from runtime.journal import ensure_stream

FIRST_TIME = 1_700_000_000_000_000
STEP = 1_000
_TIMES_IN_FORCE = (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)


class Written(NamedTuple):
    """One journal message."""

    commit: Commit
    payload: bytes
    hash: bytes


class Journal:
    """Grows commit by commit; `written` is all of it."""

    def __init__(self, journal_epoch: str = "test-journal") -> None:
        self.written: list[Written] = []
        self.engine = Engine()
        self._chain = Chain(journal_epoch=journal_epoch, time=FIRST_TIME)

    def barrier(self) -> Written:
        return self._write(state_hash=self.engine.state_hash())

    def commit(self, *pairs: tuple[Command, Outcome], time: int | None = None) -> Written:
        """A commit with these outcomes, whatever the engine would say."""
        commands, outcomes = tuple(command for command, _ in pairs), tuple(outcome for _, outcome in pairs)
        return self._write(commands=commands, outcomes=outcomes, time=time)

    def play(self, *commands: Command) -> Written:
        """A commit of those commands that the engine accepts."""
        time, sequence = self._chain.time + STEP, self._chain.sequence + 1
        results = [(command, self.engine.apply(command, time, sequence)) for command in commands]
        return self.commit(*((command, result) for command, result in results if isinstance(result, Outcome)))

    def _write(
        self,
        commands: tuple[Command, ...] = (),
        outcomes: tuple[Outcome, ...] = (),
        state_hash: bytes | None = None,
        time: int | None = None,
    ) -> Written:
        chain = self._chain
        assert chain.journal_epoch is not None
        commit = Commit(
            version=VERSION,
            journal_epoch=chain.journal_epoch,
            matcher_epoch=chain.matcher_epoch + (state_hash is not None),
            sequence=chain.sequence + 1,
            previous_hash=chain.hash,
            time=chain.time + STEP if time is None else max(time, chain.time),
            commands=commands,
            outcomes=outcomes,
            state_hash=state_hash,
        )
        payload, digest = encode_commit(commit)
        chain.advance(commit, digest)
        self.written.append(Written(commit, payload, digest))
        return self.written[-1]


def random_journal(
    seed: int, commits: int, commands_per_commit: int, symbols: Sequence[str] = ("BTC-USD", "ETH-USD")
) -> Journal:
    """A barrier, the instruments, then random orders, amendments and cancelations around one price."""
    journal = Journal()
    journal.barrier()
    journal.play(*(DefineInstrument(symbol, "0.01", "0.001") for symbol in symbols))
    extend(journal, seed, commits, commands_per_commit, symbols)
    return journal


def extend(
    journal: Journal, seed: int, commits: int, commands_per_commit: int, symbols: Sequence[str] = ("BTC-USD", "ETH-USD")
) -> list[Written]:
    """More of the same. Returns the new commits."""
    chance = random.Random(seed)
    before = len(journal.written)
    placed = sum(type(command) is PlaceOrder for each in journal.written for command in each.commit.commands)
    for _ in range(commits):
        commands = [_random_command(chance, placed + 1, symbols) for _ in range(commands_per_commit)]
        written = journal.play(*commands)
        placed += sum(type(command) is PlaceOrder for command in written.commit.commands)
    return journal.written[before:]


def _random_command(chance: random.Random, orders: int, symbols: Sequence[str]) -> Command:
    order_id = max(1, orders - int(chance.expovariate(1 / 40)))
    match chance.randrange(10):
        case 0 | 1:
            return CancelOrder(order_id)
        case 2:
            return AmendOrder(
                order_id,
                chance.choice([None, chance.randint(9_980, 10_020)]),
                chance.choice([None, chance.randint(1, 60)]),
            )
        case _:
            return _random_order(chance, symbols)


def _random_order(chance: random.Random, symbols: Sequence[str]) -> PlaceOrder:
    is_market = chance.random() < 0.1
    return PlaceOrder(
        symbol=chance.choice(symbols),
        side=chance.choice([Side.BUY, Side.SELL]),
        type=OrderType.MARKET if is_market else OrderType.LIMIT,
        quantity=chance.randint(1, 50),
        price=None if is_market else chance.randint(9_980, 10_020),
        time_in_force=TimeInForce.IOC if is_market else chance.choices(_TIMES_IN_FORCE, [8, 1, 1])[0],
        account=f"account-{chance.randrange(5)}",
        client_order_id=None if chance.random() < 0.5 else f"id-{chance.getrandbits(48):x}",
    )


async def publish(connection: Client, written: Iterable[Written], *, replicas: int = 1) -> None:
    """Append the commits to the journal's stream, which is created if there is none."""
    wrong = await ensure_stream(connection, replicas)
    assert not wrong, wrong
    stream = connection.jetstream()
    for each in written:
        headers = {"Nats-Expected-Last-Sequence": str(each.commit.sequence - 1)}
        await stream.publish(JOURNAL, each.payload, headers=headers)
