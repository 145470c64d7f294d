"""Instruments are asked for once, however many want to know; and never out of an answer from before the question."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import nats
import pytest
from nats.aio.client import Client

from contracts.subjects import MATCHER_INSTRUMENTS
from contracts.views import Instrument
from entry.instruments import Instruments
from entry.problems import Declined
from runtime.connection import respond
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack


class PlayedMatcher:
    def __init__(self) -> None:
        self.listed: list[Instrument] = []
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def answer(self, _: bytes) -> bytes:
        self.asked += 1
        listed = list(self.listed)
        await self.may_answer.wait()
        return msgspec.json.encode({"items": listed})


@pytest.fixture
async def connection(module_nats_server: NatsServer) -> AsyncIterator[Client]:
    connection = await nats.connect(module_nats_server.url)
    yield connection
    await connection.close()


@pytest.fixture
async def matcher(connection: Client) -> PlayedMatcher:
    played = PlayedMatcher()
    await respond(connection, MATCHER_INSTRUMENTS, played.answer)
    return played


def listing(symbol: str) -> Instrument:
    return Instrument(symbol, "0.01", "1", 1, 100)


async def test_what_is_known_is_not_asked_for(connection: Client, matcher: PlayedMatcher) -> None:
    matcher.listed = [listing("A"), listing("B")]
    instruments = Instruments(connection, 5)
    assert (await instruments.get("A")).symbol == "A"
    assert (await instruments.get("B")).symbol == "B"
    assert matcher.asked == 1


async def test_a_flood_of_unknown_symbols_costs_two_questions(connection: Client, matcher: PlayedMatcher) -> None:
    instruments = Instruments(connection, 5)
    matcher.may_answer.clear()
    finding = [asyncio.create_task(instruments.find(f"NONE-{number}")) for number in range(100)]
    await asyncio.sleep(0.05)
    matcher.may_answer.set()
    assert await asyncio.gather(*finding) == [None] * 100
    assert matcher.asked == 2


async def test_an_answer_from_before_the_question_does_not_count(connection: Client, matcher: PlayedMatcher) -> None:
    instruments = Instruments(connection, 5)
    matcher.may_answer.clear()
    early = asyncio.create_task(instruments.find("A"))
    async with asyncio.timeout(60):
        while not matcher.asked:
            await connection.flush()
    matcher.listed = [listing("A")]
    late = asyncio.create_task(instruments.find("A"))
    await asyncio.sleep(0)
    matcher.may_answer.set()
    await early
    assert await late is not None


async def test_unknown_and_cannot_be_asked_are_two_things(connection: Client, matcher: PlayedMatcher) -> None:
    with pytest.raises(Declined) as unknown:
        await Instruments(connection, 5).get("A")
    assert unknown.value.problem.code == "unknown_symbol"
    matcher.may_answer.clear()
    with pytest.raises(Declined) as silent:
        await Instruments(connection, 0.1).get("A")
    assert silent.value.problem.code == "matcher_unavailable"
    matcher.may_answer.set()
