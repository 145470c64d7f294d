"""A gateway with room for two of each kind, and a matcher that is away: so what is let in stays.

Nobody waits for room here, so that it is known who gets in; how orders wait for it is in test_orders_that_wait.py.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.admission import is_one_order, kind_of
from tests.support.gateways import Gateway, running_gateway
from tests.support.problems import problem
from tests.support.servers import NatsServer

ROOM = 2
ORDER = {"side": "buy", "price": "100.00", "quantity": "1"}
BODY = json.dumps(ORDER).encode()


def request(*lines: str, body: bytes = BODY, start: str = "POST /orders HTTP/1.1") -> bytes:
    head = [start, "Host: localhost", "Content-Type: application/json", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


def with_length(*lines: str, **more: Any) -> bytes:
    return request(f"Content-Length: {len(more.get('body', BODY))}", *lines, **more)


@pytest.mark.parametrize(
    "data",
    [
        with_length(),
        with_length("Connection: keep-alive", "Accept: */*", "Authorization: Bearer pt_1"),
        with_length(start="POST /orders/batch HTTP/1.1"),
        request("content-length:2", body=b"{}"),
    ],
)
def test_one_whole_order_is_seen(data: bytes) -> None:
    assert is_one_order(data)


@pytest.mark.parametrize(
    "data",
    [
        with_length()[:-1],
        with_length() + b"P",
        with_length() * 2,
        with_length("Prefer: respond-async"),
        with_length("Expect: 100-continue"),
        with_length("Connection: close"),
        with_length("Connection: keep-alive, Upgrade", "Upgrade: h2c"),
        with_length("Transfer-Encoding: chunked"),
        with_length("Content-Length: 1"),
        with_length(" folded"),
        with_length(start="POST /orders HTTP/1.0"),
        with_length(start="POST /orders?x=1 HTTP/1.1"),
        with_length(start="DELETE /orders HTTP/1.1"),
        with_length(start="PUT /orders/1 HTTP/1.1"),
        request("Content-Length: -5"),
        request("Content-Length: 1 2"),
        request(),
        b"POST /orders HTTP/1.1\r\nContent-Length: 5",
        b"",
    ],
)
def test_in_doubt_it_is_left_to_the_parser(data: bytes) -> None:
    assert not is_one_order(data)


@pytest.mark.parametrize(
    ("method", "path", "prefer", "kind"),
    [
        ("GET", "/orders", b"", "read"),
        ("HEAD", "/docs", b"", "read"),
        ("GET", "/health/ready", b"", None),
        ("POST", "/orders", b"", "order"),
        ("POST", "/orders", b"respond-async", "deferred"),
        ("POST", "/orders", b"return=minimal", "order"),
        ("PUT", "/orders/7", b"", "order"),
        ("DELETE", "/orders/7", b"", "cancel"),
        ("DELETE", "/orders", b"", "cancel"),
        ("DELETE", "/orders/7", b"wait=5, respond-async", "deferred"),
        ("PUT", "/accounts/anna/cancel-all-after", b"", "cancel"),
        ("PUT", "/accounts/anna/kill-switch", b"", "cancel"),
        ("PUT", "/accounts/anna/limits", b"respond-async", "order"),
    ],
)
def test_kinds(method: str, path: str, prefer: bytes, kind: str | None) -> None:
    scope = {"method": method, "path": path, "headers": [(b"prefer", prefer)] if prefer else []}
    found = kind_of(scope)
    assert (found and found.value) == kind


@pytest.fixture
async def gateway(module_nats_server: NatsServer) -> AsyncIterator[Gateway]:
    settings = {
        "requests_in_flight": ROOM,
        "command_timeout_seconds": 30.0,
        "command_retry_seconds": 0.1,
        "order_wait_seconds": 0,
    }
    async with running_gateway(module_nats_server.url, **settings) as running:
        await running.has_its_streams()
        await running.placed()
        yield running


NAMES = (f"named-{number}" for number in range(10_000))


async def place(gateway: Gateway) -> httpx.Response:
    """With a name: so it is sent again if nats-server loses it while the matcher comes back, as it does at times."""
    return await gateway.place(client_order_id=next(NAMES))


@pytest.fixture
async def full(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Two orders wait for the matcher; what comes beyond them is refused."""
    await gateway.matcher.go_away()
    waiting = {asyncio.create_task(place(gateway)) for _ in range(ROOM + 1)}
    refused, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert [each.result().status_code for each in refused] == [503]
    yield gateway
    await gateway.matcher.come_back()
    assert {(await each).status_code for each in waiting} == {201}


async def exchanged(gateway: Gateway, data: bytes, answers: int = 1) -> bytes:
    """What comes back for this, up to so many answers or the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    received = b""
    try:
        writer.write(data)
        while received.count(b"HTTP/1.1 ") < answers or not received.endswith(b"}"):
            more = await asyncio.wait_for(reader.read(65536), 60)
            if not more:
                break
            received += more
    finally:
        writer.close()
    return received


async def test_what_is_beyond_is_refused_with_a_problem_and_when_to_come_again(full: Gateway) -> None:
    response = await full.place()
    refused = problem(response, 503, "overloaded")
    assert response.headers["retry-after"] == str(refused["retry_after"]) == "1"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert len(full.matcher.requests) == 1, "nothing was sent"


async def test_room_that_is_left_is_given_again(gateway: Gateway) -> None:
    await gateway.matcher.go_away()
    orders = [asyncio.create_task(place(gateway)) for _ in range(3 * ROOM)]
    await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)
    await gateway.matcher.come_back()
    answers = [(await each).status_code for each in orders]
    assert sorted(answers) == [201] * ROOM + [503] * 2 * ROOM
    assert [(await gateway.place()).status_code for _ in range(3 * ROOM)] == [201] * 3 * ROOM


async def test_getting_out_works_where_getting_in_does_not(module_nats_server: NatsServer) -> None:
    settings = {
        "requests_in_flight": 4,
        "command_timeout_seconds": 30.0,
        "command_retry_seconds": 0.1,
        "order_wait_seconds": 0,
    }
    async with running_gateway(module_nats_server.url, **settings) as gateway:
        order_id = (await gateway.placed())["order_id"]
        await gateway.matcher.go_away()
        orders = [asyncio.create_task(place(gateway)) for _ in range(5)]
        await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)
        cancels = [asyncio.create_task(gateway.http.delete(f"/orders/{order_id}")) for _ in range(2)]
        (refused,), (waiting,) = await asyncio.wait(cancels, return_when=asyncio.FIRST_COMPLETED)
        problem(refused.result(), 503, "overloaded")
        await gateway.matcher.come_back()
        assert (await waiting).status_code == 200
        assert sorted([(await each).status_code for each in orders]) == [201] * 4 + [503]


async def test_reads_health_and_requests_to_be_stored_go_on(full: Gateway) -> None:
    assert (await full.http.get("/limits")).status_code == 200
    assert (await full.http.get("/health/live")).status_code == 200
    later = await full.http.post("/orders", json=ORDER, headers={"prefer": "respond-async"})
    assert later.status_code == 202


async def test_reads_that_wait_leave_room_for_orders(gateway: Gateway) -> None:
    """Postgres is away, so each read waits as long as reads may."""
    reads = [asyncio.create_task(gateway.http.get("/orders")) for _ in range(3 * ROOM)]
    assert (await gateway.place()).status_code == 201
    answers = [(await each).json()["code"] for each in reads]
    assert "overloaded" in answers
    assert set(answers) <= {"overloaded", "reads_behind", "history_unavailable"}


async def test_a_connection_goes_on_after_a_refusal(full: Gateway) -> None:
    both = with_length("Accept: */*") + request(start="GET /limits HTTP/1.1", body=b"")
    answers = await exchanged(full, both, 2)
    assert answers.count(b"HTTP/1.1 503 ") == 1
    assert answers.count(b"HTTP/1.1 200 ") == 1
    twice = await exchanged(full, with_length(body=b" " * 100 + BODY) * 2, 2)
    assert twice.count(b"HTTP/1.1 503 ") == 2


async def test_thousands_at_once_on_one_connection(full: Gateway) -> None:
    answers = await exchanged(full, with_length() * 3_000, 3_000)
    assert answers.count(b"HTTP/1.1 503 ") == 3_000


@pytest.mark.parametrize(
    "data",
    [with_length("Connection: close"), with_length(start="POST /orders HTTP/1.0")],
)
async def test_who_wants_the_connection_closed_gets_that(full: Gateway, data: bytes) -> None:
    answer = await exchanged(full, data, 2)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nconnection: close\r\n" in answer


async def test_half_a_request_keeps_nobody_out(gateway: Gateway) -> None:
    """As many as there is room for begin an order each and do not end it; at its end each is judged as any."""
    writers = []
    for _ in range(ROOM):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(with_length()[:-1])
        writers.append((reader, writer))
    assert [(await gateway.place()).status_code for _ in range(3)] == [201] * 3
    for reader, writer in writers:
        writer.write(BODY[-1:])
        assert b"201 Created" in await asyncio.wait_for(reader.readline(), 60)
        writer.close()


@pytest.mark.parametrize("split", [len(with_length()) - 1, len(with_length()) - len(BODY), 30])
async def test_a_request_in_two_pieces_is_refused_as_well(full: Gateway, split: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", full.port)
    try:
        for _ in range(2):
            writer.write(with_length()[:split])
            await writer.drain()
            await full.http.get("/health/live")  # what was sent has been read before this is answered
            writer.write(with_length()[split:])
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            assert head.startswith(b"HTTP/1.1 503 ")
            content = await reader.readexactly(int(httpx_headers(head)["content-length"]))
            assert json.loads(content)["code"] == "overloaded"
    finally:
        writer.close()


def httpx_headers(head: bytes) -> httpx.Headers:
    lines = head.decode().strip().split("\r\n")[1:]
    return httpx.Headers([(name, value) for name, _, value in (line.partition(": ") for line in lines)])


async def test_whoever_was_answered_is_not_taken_for_slow(module_nats_server: NatsServer) -> None:
    """The connection of one who does not finish a request is ended; that of one who was answered before is not."""
    settings = {
        "requests_in_flight": 1,
        "command_timeout_seconds": 30.0,
        "command_retry_seconds": 0.1,
        "order_wait_seconds": 0,
    }
    settings["request_seconds"] = 1.0
    async with running_gateway(module_nats_server.url, **settings) as gateway:
        await gateway.placed()
        await gateway.matcher.go_away()
        orders = [asyncio.create_task(place(gateway)) for _ in range(2)]
        await asyncio.wait(orders, return_when=asyncio.FIRST_COMPLETED)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        nowhere = with_length(start="POST /nowhere HTTP/1.1")
        for piece in (nowhere[:-1], nowhere[-1:]):
            writer.write(piece)
            await writer.drain()
            await gateway.http.get("/health/live")  # what was sent has been read before this is answered
        assert await exchanged(gateway, with_length()[:-1]) == b"", "it was ended for being slow"
        writer.write(with_length("Connection: close"))
        answers = await asyncio.wait_for(reader.read(), 60)
        assert (answers.count(b"HTTP/1.1 404 "), answers.count(b"HTTP/1.1 503 ")) == (1, 1)
        writer.close()
        await gateway.matcher.come_back()
        assert sorted([(await each).status_code for each in orders]) == [201, 503]


async def test_a_chunked_body_is_judged_at_its_end(full: Gateway) -> None:
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    start = request("Transfer-Encoding: chunked", body=b"")
    assert (await exchanged(full, start + chunked)).startswith(b"HTTP/1.1 503 ")


async def test_who_does_not_read_refusals_is_cut_off(full: Gateway) -> None:
    """It sends on and on, and nothing that is for it piles up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", full.port, limit=1)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(flood(writer), 60)
    writer.close()
    assert reader is not None
    problem(await full.place(), 503, "overloaded")


async def flood(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(with_length() * 100)
        await writer.drain()


async def test_requests_over_nats_share_the_room(full: Gateway) -> None:
    for subject in ("orders.place", "accounts.anna.orders.place"):
        answer = await full.nats.request(subject, BODY, timeout=60)
        assert answer.headers is not None
        assert answer.headers["Nats-Service-Error-Code"] == "503"
        assert (json.loads(answer.data)["code"], json.loads(answer.data)["retry_after"]) == ("overloaded", 1)


async def test_requests_over_nats_give_their_room_back(gateway: Gateway) -> None:
    for body in (BODY, b"not JSON", b""):
        for subject in ("orders.place", "orders.cancel", "accounts.anna.orders.place", "accounts.anna.orders.none"):
            for _ in range(ROOM + 1):
                answer = await gateway.nats.request(subject, body, timeout=60)
                assert b"overloaded" not in answer.data
