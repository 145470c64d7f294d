"""Goal: kill -9 of any part of the running exchange at any moment loses no answered order and doubles none.

Method: REST clients place and cancel orders without pause, every order under a client_order_id of its own, while parts
are killed in a seeded random order at random moments, now and then two at once. A request whose result stayed unknown
is sometimes sent again under its id, as a careful client does. Afterwards what the clients were told is compared with
the journal, with Postgres (SQL and REST) and with the live book; `pricetime verify` judges the same independently.

PRICETIME_CHAOS_KILLS and PRICETIME_CHAOS_SEED choose how many kills and which; the seed is printed.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from contracts.commits import decode_commit
from contracts.decimals import Step
from contracts.messages import CancelReason, OrderCanceled
from recorder.rows import Fold
from runtime.connection import close, connect
from tests.support.matchers import JournalRead, MatcherClient, order_id_of, raw_journal
from tests.support.stack import PARTS, Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("PRICETIME_CHAOS_KILLS", "20"))
SEED = int(os.environ.get("PRICETIME_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
CLIENTS = 8
PAGE = 1000
_TICK, _LOT = Step.of("0.01"), Step.of("0.00000001")


@dataclass
class Trader:
    """One REST client with an account of its own, and what it was told. Its cancels may hit filled orders."""

    name: str
    chance: random.Random
    http: httpx.AsyncClient
    placed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The body of each 201, by client_order_id."""
    canceled: set[int] = field(default_factory=set)
    """Orders whose DELETE was answered with 200."""
    declined: set[str] = field(default_factory=set)
    """Orders of which the gateway said that nothing was done."""
    unknown: set[str] = field(default_factory=set)
    found_later: dict[str, int] = field(default_factory=dict)
    """Order ids that a retry was told for an order whose first result was unknown."""
    answers: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    _number: int = 0

    async def trade(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            open_orders = [body["order_id"] for body in self.placed.values() if body["status"] == "open"]
            if open_orders and self.chance.random() < 0.3:
                await self._cancel(self.chance.choice(open_orders[-20:]))
            else:
                await self._place()
            await asyncio.sleep(self.chance.uniform(0.001, 0.03))

    async def _place(self) -> None:
        self._number += 1
        name = f"{self.name}-{self._number}"
        order = {
            "side": self.chance.choice(["buy", "sell"]),
            "price": f"{100 + self.chance.randint(-5, 5)}.00",
            "quantity": str(self.chance.randint(1, 5)),
            "account": self.name,
            "client_order_id": name,
        }
        status, body = await self._request("POST", "/orders", order)
        match status, body.get("code"):
            case 201, _:
                self.placed[name] = body
            case 503, "overloaded" | "matcher_unavailable":
                self.declined.add(name)
            case (None, _) | (503 | 504, _):
                self.unknown.add(name)
                if self.chance.random() < 0.5:
                    await self._place_again(name, order)
            case _:
                self.surprises.append(f"POST {order}: {status} {body}")

    async def _place_again(self, name: str, order: dict[str, str]) -> None:
        """The same id again: at most one of the two can have been carried out."""
        status, body = await self._request("POST", "/orders", order)
        match status, body.get("code"):
            case 201, _:
                self.placed[name] = body
            case 409, "duplicate_client_order_id":
                self.found_later[name] = body["order_id"]
            case (None, _) | (503 | 504, _):
                pass  # still unknown
            case _:
                self.surprises.append(f"POST {order} again: {status} {body}")

    async def _cancel(self, order_id: int) -> None:
        status, body = await self._request("DELETE", f"/orders/{order_id}")
        if status == 200:
            if order_id in self.canceled:
                self.surprises.append(f"{order_id} was canceled twice")
            self.canceled.add(order_id)
        elif status == 404 and "cannot be looked up now" in body["detail"]:
            pass  # filled meanwhile, and the history cannot be asked right now
        elif status not in (None, 409, 503, 504):
            self.surprises.append(f"DELETE {order_id}: {status} {body}")

    async def _request(self, method: str, path: str, body: object = None) -> tuple[int | None, dict[str, Any]]:
        """Status and body; None when the connection broke."""
        try:
            answer = await self.http.request(method, path, json=body)
        except httpx.TransportError as error:
            self.answers[f"{method} {type(error).__name__}"] += 1
            return None, {}
        content: dict[str, Any] = answer.json()
        self.answers[f"{method} {answer.status_code} {content.get('code', '')}".strip()] += 1
        return answer.status_code, content


def rounds_of_parts(chance: random.Random) -> Iterator[str]:
    """Every part once, in random order, and again: none is left out however few kills there are."""
    while True:
        yield from chance.sample(PARTS, len(PARTS))


async def kill_parts(stack: Stack, chance: random.Random) -> None:
    parts, left = rounds_of_parts(chance), KILLS
    while left:
        await asyncio.sleep(chance.uniform(0.05, 1.0))
        at_once = {next(parts) for _ in range(min(left, 2 if chance.random() < 0.2 else 1))}
        killed = {part: pid for part in sorted(at_once) if (pid := kill_if_running(stack, part))}
        left -= len(killed)
        for part, pid in killed.items():
            await asyncio.to_thread(stack.wait_until_healed, part, pid)


def kill_if_running(stack: Stack, part: str) -> int | None:
    """The process id that it had; None if it is just being started again."""
    try:
        return stack.kill(part)
    except psutil.NoSuchProcess:
        return None


@pytest.fixture
def exchange(fresh_stack: Callable[[], Stack]) -> Stack:
    return fresh_stack()


async def test_every_answered_order_is_there_exactly_once_whatever_is_killed(exchange: Stack) -> None:
    print(f"PRICETIME_CHAOS_SEED={SEED} PRICETIME_CHAOS_KILLS={KILLS}")
    chance = random.Random(SEED)
    async with httpx.AsyncClient(base_url=exchange.http, timeout=60, trust_env=False) as http:
        traders = [Trader(f"trader-{number}", random.Random(SEED + number), http) for number in range(CLIENTS)]
        stopping = asyncio.Event()
        trading = [asyncio.create_task(trader.trade(stopping)) for trader in traders]
        try:
            await kill_parts(exchange, chance)
        finally:
            stopping.set()
            await asyncio.gather(*trading)
        print(sum((trader.answers for trader in traders), Counter()))
        surprises = [surprise for trader in traders for surprise in trader.surprises]
        assert not surprises, f"{surprises}\n{(exchange.data / 'logs' / 'gateway.log').read_text()[-10_000:]}"
        assert all(len(trader.placed) > 10 for trader in traders), "too little got through to prove anything"
        await compare(exchange, http, traders)


async def compare(stack: Stack, http: httpx.AsyncClient, traders: list[Trader]) -> None:
    connection = await connect(stack.nats, "test")
    try:
        journal, state_hash = await MatcherClient(connection).journal_and_hash()
        compare_with_journal(journal, traders)
        assert state_hash == journal.replay.engine.state_hash().hex(), "the matcher's book is another"
        fold = Fold()
        for sequence, payload in await raw_journal(connection):
            commit, digest = decode_commit(sequence, payload)
            fold.add(commit, payload, digest)
    finally:
        await close(connection)
    await compare_with_rest(journal, fold, http, traders)
    await compare_with_sql(fold, stack)
    verified = await asyncio.to_thread(verify, stack)
    assert verified.returncode == 0, verified.stdout


def compare_with_journal(journal: JournalRead, traders: list[Trader]) -> None:
    in_journal = journal.outcomes_by_client_order_id()
    assert {name: found for name, found in in_journal.items() if len(found) > 1} == {}, "carried out twice"
    cancels = Counter(
        event.order.order_id
        for commit in journal.commits
        for outcome in commit.outcomes
        for event in outcome.events
        if isinstance(event, OrderCanceled) and event.reason is CancelReason.REQUESTED
    )
    for trader in traders:
        for name, body in trader.placed.items():
            assert name in in_journal, f"{name} was answered with 201 and is lost: {body}"
            ((sequence, outcome),) = in_journal[name]
            assert (body["sequence"], body["order_id"]) == (sequence, order_id_of(outcome))
        for name, order_id in trader.found_later.items():
            assert order_id_of(in_journal[name][0][1]) == order_id
        assert not trader.declined & set(in_journal), "carried out, although the answer was that nothing was done"
        assert {order_id: cancels[order_id] for order_id in trader.canceled} == dict.fromkeys(trader.canceled, 1)


async def compare_with_rest(journal: JournalRead, fold: Fold, http: httpx.AsyncClient, traders: list[Trader]) -> None:
    at_the_end = {"Journal-Sequence": str(journal.replay.chain.sequence)}
    listed: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next_cursor": None}
    while not listed or page["next_cursor"]:
        query = {"limit": PAGE} | ({"cursor": page["next_cursor"]} if listed else {})
        answer = await http.get("/orders", params=query, headers=at_the_end)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        listed += page["items"]
    shown = [(order["order_id"], order["client_order_id"], order["status"], order["sequence"]) for order in listed]
    rows = sorted(fold.orders.values(), key=lambda row: -row.order_id)
    assert shown == [(row.order_id, row.client_order_id, row.status.value, row.sequence) for row in rows]

    answer = await http.get("/market/BTC-USD/depth", params={"levels": 1000}, headers=at_the_end)
    assert answer.status_code == 200, answer.text
    depth = answer.json()
    assert depth["sequence"] == journal.replay.chain.sequence
    bids, asks = journal.replay.engine.depth("BTC-USD")
    for side, levels in (("bids", bids), ("asks", asks)):
        assert in_steps(depth[side]) == levels, f"the {side} of the live book"
        assert levels == open_quantity(listed, side), f"the {side} are not the sum of the open orders"
    known = {order["client_order_id"] for order in listed}
    assert all(set(trader.placed) <= known for trader in traders)


def in_steps(levels: list[list[str]]) -> list[tuple[int, int]]:
    return [(_TICK.parse(price), _LOT.parse(quantity)) for price, quantity in levels]


def open_quantity(orders: list[dict[str, Any]], side: str) -> list[tuple[int, int]]:
    """Price levels made from the orders that REST shows as open, best first."""
    total: Counter[int] = Counter()
    for order in orders:
        if order["side"] == {"bids": "buy", "asks": "sell"}[side] and order["status"] in ("open", "partially_filled"):
            total[_TICK.parse(order["price"])] += _LOT.parse(order["remaining_quantity"])
    return sorted(total.items(), reverse=side == "bids")


async def compare_with_sql(fold: Fold, stack: Stack) -> None:
    postgres = await asyncpg.connect(stack.postgres)
    try:
        position = await postgres.fetchval("SELECT sequence FROM recorder_position")
        orders = await postgres.fetch(
            "SELECT order_id, client_order_id, account, quantity, filled_quantity, status, sequence FROM orders "
            "ORDER BY order_id"
        )
        trades = await postgres.fetch(
            "SELECT trade_id, price, quantity, maker_order_id, taker_order_id, journal_sequence FROM trades "
            "ORDER BY trade_id"
        )
        commits = await postgres.fetch("SELECT sequence, hash, payload FROM journal_commits ORDER BY sequence")
    finally:
        await postgres.close()
    assert position == fold.commits[-1].sequence
    assert [tuple(row) for row in commits] == [row[:3] for row in fold.commits]
    assert [tuple(row) for row in orders] == [
        (row.order_id, row.client_order_id, row.account, row.quantity, row.filled_quantity, row.status, row.sequence)
        for row in sorted(fold.orders.values(), key=lambda row: row.order_id)
    ]
    assert [tuple(row) for row in trades] == [
        (row.trade_id, row.price, row.quantity, row.maker_order_id, row.taker_order_id, row.journal_sequence)
        for row in fold.trades
    ]
    assert [row.trade_id for row in fold.trades] == list(range(1, len(fold.trades) + 1)), "a gap among the trades"


def verify(stack: Stack) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "cli.main", "verify", "--data", str(stack.data)]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
