"""Goal: a client that sends each order three times ends with each order exactly once.

Method: clients send every order three times under one id, at once or after giving the one before up, by plain POST, by
Prefer: respond-async or by both, with the id in the body or as Idempotency-Key; meanwhile gateway and matcher are
killed with -9 at seeded random moments. When the killing is over, a client that still has no answer asks again until it
has one. Then the journal, Postgres and the answers are compared: every order is there once, and whatever a client was
told of one id, at whatever time and by whichever way, is the same order.

PRICETIME_CHAOS_KILLS and PRICETIME_CHAOS_SEED choose how many kills and which; the seed is printed.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from contracts.subjects import COMMANDS_STREAM
from runtime.connection import close, connect
from tests.support.deferral import ASYNC, settled
from tests.support.matchers import order_id_of, read_journal
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("PRICETIME_CHAOS_KILLS", "6"))
SEED = int(os.environ.get("PRICETIME_CHAOS_SEED", random.SystemRandom().randrange(10**6)))
CLIENTS = 6
SENDINGS = 3
WAYS = (("plain",) * 3, ("deferred",) * 3, ("plain", "deferred", "plain"), ("deferred", "plain", "deferred"))
PATIENCE_SECONDS = 60.0
NO_ANSWER = {
    (503, "overloaded"),
    (503, "matcher_unavailable"),
    (503, "commands_unavailable"),
    (503, "journal_unavailable"),
    (504, "result_unknown"),
}
"""What a client may be told instead of an answer. Everything else but the order is a surprise."""


@dataclass
class Client:
    """One REST client with an account of its own, and all that it was told."""

    name: str
    chance: random.Random
    http: httpx.AsyncClient
    orders: dict[str, dict[str, str]] = field(default_factory=dict)
    """Every order that was sent, by its id."""
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The orders in the answers 201, by id."""
    commands: dict[str, set[str]] = field(default_factory=dict)
    """The command ids in the answers 202, by the id of the order."""
    answers: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)

    async def storm(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            name = f"{self.name}-{len(self.orders) + 1}"
            self.orders[name] = {
                "side": self.chance.choice(["buy", "sell"]),
                "price": f"{100 + self.chance.randint(-5, 5)}.00",
                "quantity": str(self.chance.randint(1, 5)),
                "account": self.name,
            }
            self.told[name], self.commands[name] = [], set()
            await self._send_three_times(name)
            await asyncio.sleep(self.chance.uniform(0.001, 0.02))

    async def _send_three_times(self, name: str) -> None:
        ways = self.chance.choice(WAYS)
        if self.chance.random() < 0.5:
            await asyncio.gather(*(self._send(name, way, PATIENCE_SECONDS) for way in ways))
            return
        for way in ways:  # each but the last is given up after a moment, whatever has become of it
            await self._send(name, way, PATIENCE_SECONDS if way is ways[-1] else self.chance.uniform(0.001, 0.1))

    async def until_answered(self) -> None:
        """What every careful client does at last: ask again until there is an answer."""
        for name in self.orders:
            while not self.told[name] and not self.commands[name]:
                await self._send(name, self.chance.choice(["plain", "deferred"]), PATIENCE_SECONDS)

    async def _send(self, name: str, way: str, seconds: float) -> None:
        body, headers = dict(self.orders[name]), ASYNC if way == "deferred" else {}
        if self.chance.random() < 0.5:
            body["client_order_id"] = name
        else:
            headers = headers | {"idempotency-key": name}
        try:
            response = await self.http.post("/orders", json=body, headers=headers, timeout=seconds)
        except httpx.TransportError as error:
            self.answers[f"{way} {type(error).__name__}"] += 1
            return
        self._note(name, way, response)

    def _note(self, name: str, way: str, response: httpx.Response) -> None:
        content = response.json()
        self.answers[f"{way} {response.status_code} {content.get('code', '')}".strip()] += 1
        if (response.status_code, way) == (201, "plain"):
            self.told[name].append(content)
        elif (response.status_code, way) == (202, "deferred"):
            self.commands[name].add(content["command_id"])
        elif (response.status_code, content.get("code")) not in NO_ANSWER:
            self.surprises.append(f"{name} {way}: {response.status_code} {content}")


async def kill_at_random(stack: Stack, chance: random.Random) -> None:
    """The gateway most of the time, now and then the matcher, sometimes both at once."""
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.05, 1.0))
        parts = chance.choice([["gateway"], ["gateway"], ["matcher"], ["gateway", "matcher"]])
        for part, pid in [(part, kill_if_running(stack, part)) for part in parts]:
            if pid is not None:
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


async def test_every_order_sent_three_times_is_there_once(exchange: Stack) -> None:
    print(f"PRICETIME_CHAOS_SEED={SEED} PRICETIME_CHAOS_KILLS={KILLS}")
    async with httpx.AsyncClient(base_url=exchange.http, trust_env=False) as http:
        clients = [Client(f"client-{number}", random.Random(SEED + number), http) for number in range(CLIENTS)]
        stopping = asyncio.Event()
        storming = [asyncio.create_task(client.storm(stopping)) for client in clients]
        try:
            await kill_at_random(exchange, random.Random(SEED))
        finally:
            stopping.set()
            await asyncio.gather(*storming)
        for client in clients:
            await client.until_answered()
        answers = sum((client.answers for client in clients), Counter[str]())
        print(sorted(answers.items()))
        surprises = [surprise for client in clients for surprise in client.surprises]
        assert not surprises, f"{surprises}\n{(exchange.data / 'logs' / 'gateway.log').read_text()[-10_000:]}"
        assert answers["plain 201"] > 50, "too little got through to prove anything"
        assert answers["deferred 202"] > 50, "too little got through to prove anything"
        await compare(exchange, http, clients)


async def compare(stack: Stack, http: httpx.AsyncClient, clients: list[Client]) -> None:
    results = {name: await results_of(http, ids) for client in clients for name, ids in client.commands.items()}
    sent = {name: order for client in clients for name, order in client.orders.items()}
    in_journal, last, waiting = await journal_of(stack)
    assert waiting == 0, "commands are left over"
    assert {name: found for name, found in in_journal.items() if len(found) != 1} == {}, "carried out twice"
    assert set(in_journal) == set(sent), "not every order is there, or one that nobody sent"
    for client in clients:
        for name, told in client.told.items():
            (placed,) = in_journal[name]
            answers = [*told, *results[name]]
            assert answers, f"{name} was never answered"
            assert all((each["order_id"], each["sequence"]) == placed for each in answers), (placed, answers)
            assert all(each == answers[0] for each in answers), f"different answers for {name}: {answers}"
            asked = sent[name]
            assert {key: answers[0][key] for key in ("side", "price", "account")} == {
                key: asked[key] for key in ("side", "price", "account")
            }
    assert await in_postgres(stack, http, last) == sorted((name, placed[0][0]) for name, placed in in_journal.items())


async def results_of(http: httpx.AsyncClient, command_ids: set[str]) -> list[dict[str, Any]]:
    """The orders that deferred commands led to. They were sent under one id, so they are one command."""
    assert len(command_ids) <= 1
    found = [await settled(http, command_id, PATIENCE_SECONDS) for command_id in command_ids]
    assert all(each["status"] == "completed" for each in found), found
    return [each["result"] for each in found]


async def journal_of(stack: Stack) -> tuple[dict[str, list[tuple[int, int]]], int, int]:
    """Order id and sequence of each placed order by its id; the journal's last sequence; how many commands wait."""
    connection = await connect(stack.nats, "test")
    try:
        journal = await read_journal(connection)
        waiting = (await connection.jetstream().stream_info(COMMANDS_STREAM)).state.messages
    finally:
        await close(connection)
    placed = {
        name: [(order_id_of(outcome), sequence) for sequence, outcome in outcomes]
        for name, outcomes in journal.outcomes_by_client_order_id().items()
    }
    return placed, journal.replay.chain.sequence, waiting


async def in_postgres(stack: Stack, http: httpx.AsyncClient, sequence: int) -> list[tuple[str, int]]:
    """Client order id and order id of every order there, once it has the journal up to `sequence`."""
    response = await http.get("/orders", params={"limit": 1}, headers={"journal-sequence": str(sequence)}, timeout=30)
    assert response.status_code == 200, response.text
    postgres = await asyncpg.connect(stack.postgres)
    try:
        rows = await postgres.fetch("SELECT client_order_id, order_id FROM orders ORDER BY client_order_id, order_id")
    finally:
        await postgres.close()
    return [(row["client_order_id"], row["order_id"]) for row in rows]
