"""An answer in one write: the same bytes that uvicorn sends for it, and whatever is unusual left to uvicorn."""

import asyncio
import logging
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from entry.problems import Problem
from gateway.answer_writer import AnswerWriter, Heads
from gateway.http import HttpAnswer, command_answer, json_answer, problem_answer

DATE = [(b"date", b"Fri, 20 Nov 2026 21:00:00 GMT"), (b"x-content-type-options", b"nosniff")]
ORDER = command_answer({"order_id": 7}, 12, 201, "/orders/7", replayed=True)


class Stream(HttpAnswer):
    """One whose body comes while it is sent."""


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


class Exchanged:
    """One request that has come in, and what is written in answer to it."""

    def __init__(self, method: str = "POST", *, keep_alive: bool = True) -> None:
        self.wire = Wire()
        self.completed = 0
        self.flow = FlowControl(self.wire)  # type: ignore[arg-type]  # as much of a transport as is needed
        scope: Any = {"type": "http", "method": method, "headers": []}
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.wire,  # type: ignore[arg-type]
            flow=self.flow,
            logger=logging.getLogger(),
            access_logger=logging.getLogger(),
            access_log=False,
            default_headers=DATE,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._complete,
        )
        self.writer = AnswerWriter(self.cycle, Heads())

    def _complete(self) -> None:
        self.completed += 1

    async def sent(self, answer: HttpAnswer) -> bytes:
        """As ASGI sends it."""
        receive: Any = self.cycle.receive
        send: Any = self.writer
        await answer({"type": "http"}, receive, send)  # type: ignore[arg-type]
        return b"".join(self.wire.writes)


@pytest.mark.parametrize(
    "answer", [ORDER, json_answer([1, 2]), json_answer("x" * 70_000, 202), HttpAnswer(200, b"", ())]
)
async def test_the_same_bytes_in_one_write(answer: HttpAnswer) -> None:
    exchanged, usual = Exchanged(), Exchanged()
    assert exchanged.writer.write(answer)
    assert exchanged.wire.writes == [await usual.sent(answer)]
    assert exchanged.completed == usual.completed == 1
    assert exchanged.cycle.response_started
    assert exchanged.cycle.response_complete
    assert exchanged.cycle.message_event.is_set()


@pytest.mark.parametrize(
    "answer",
    [
        HttpAnswer(204, b"", ()),
        Stream(200, b"", ()),
        problem_answer(Problem(code="body_too_large", detail="It is.")),
        json_answer(1, headers=((b"location", b"/orders/1\r\nset-cookie: a"),)),
        json_answer(1, headers=((b"location", b"/orders/\x00"),)),
    ],
)
async def test_what_is_unusual_is_left_to_uvicorn(answer: HttpAnswer) -> None:
    exchanged = Exchanged()
    assert not exchanged.writer.write(answer)
    assert exchanged.wire.writes == []
    assert not exchanged.cycle.response_started


async def test_so_are_clients_that_are_unusual() -> None:
    assert not Exchanged("HEAD").writer.write(ORDER)
    assert not Exchanged(keep_alive=False).writer.write(ORDER)
    slow, gone, answered = Exchanged(), Exchanged(), Exchanged()
    slow.flow.pause_writing()
    assert not slow.writer.write(ORDER)
    gone.cycle.disconnected = True
    assert not gone.writer.write(ORDER)
    assert answered.writer.write(ORDER)
    assert not answered.writer.write(ORDER)


def test_how_answers_begin_follows_uvicorns_own_headers() -> None:
    heads = Heads()
    assert heads.of(201, DATE) == b"HTTP/1.1 201 Created\r\ndate: Fri, 20 Nov 2026 21:00:00 GMT\r\n" + (
        b"x-content-type-options: nosniff\r\n"
    )
    assert heads.of(201, DATE) is heads.of(201, DATE)
    assert heads.of(200, [(b"date", b"later")]) == b"HTTP/1.1 200 OK\r\ndate: later\r\n"
    assert heads.of(201, [(b"date", b"later still")]) == b"HTTP/1.1 201 Created\r\ndate: later still\r\n"
