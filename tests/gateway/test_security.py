"""What the gateway does about browsers, and about clients that take up room without doing anything, over real HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import nats
import pytest

from runtime import server as server_module
from tests.support.certificates import Authority, Certificate
from tests.support.gateways import Gateway, running_gateway
from tests.support.keys import make_key
from tests.support.servers import NatsServer, remove_stream, temporary_folder

pytestmark = pytest.mark.stack

ORDER = {"side": "buy", "price": "100.00", "quantity": "1"}
EVIL = "https://evil.example.com"
DESK = "https://desk.example.com"
HEAD = b"GET /limits HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECONDS = 60


@pytest.fixture
async def gateway(module_nats_server: NatsServer) -> AsyncIterator[Gateway]:
    async with gateway_on(module_nats_server) as running:
        yield running


@asynccontextmanager
async def gateway_on(server: NatsServer, **settings: object) -> AsyncIterator[Gateway]:
    """One that begins without keys."""
    connection = await nats.connect(server.url)
    await remove_stream(connection, "KV_KEYS")
    await connection.close()
    async with running_gateway(server.url, **settings) as running:
        yield running


async def with_a_key(gateway: Gateway) -> None:
    """Return when the gateway has learned that keys are needed."""
    await make_key(gateway.nats)
    async with asyncio.timeout(SECONDS):
        while (await gateway.http.get("/orders")).status_code != 401:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def code(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["code"])


# What browsers are told


async def test_every_answer_says_how_it_may_be_used(gateway: Gateway) -> None:
    answers = [
        await gateway.http.get("/limits"),
        await gateway.place(),
        await gateway.http.get("/nowhere"),
        await gateway.http.patch("/orders"),
        await gateway.http.post("/orders", content=b"{"),
        await gateway.http.get("/health/live"),
        await gateway.http.get("/docs"),
        await gateway.http.get("/", headers={"host": "evil.example.com"}),
    ]
    assert {each.status_code for each in answers} >= {200, 201, 404, 405, 415, 421}
    for each in answers:
        assert each.headers.get_list("x-content-type-options") == ["nosniff"]
        assert "server" not in each.headers
        assert "strict-transport-security" not in each.headers
        assert "access-control-allow-origin" not in each.headers
    page = answers[6].headers
    assert "default-src 'none'" in page["content-security-policy"]
    assert (page["referrer-policy"], page["x-frame-options"]) == ("no-referrer", "DENY")
    assert page["cross-origin-resource-policy"] == "same-origin"


# Whose pages may come


async def test_a_name_pointed_at_this_machine_reaches_nothing(gateway: Gateway) -> None:
    """DNS rebinding: to the browser the page is of the same origin, so it may read and write as it likes."""
    evil = {"host": f"evil.example.com:{gateway.port}", "origin": f"http://evil.example.com:{gateway.port}"}
    for method, path, body in (("GET", "/orders", None), ("POST", "/orders", ORDER), ("DELETE", "/orders/1", None)):
        assert code(await gateway.http.request(method, path, json=body, headers=evil), 421) == "host_not_allowed"
    assert gateway.matcher.requests == []
    assert (await gateway.http.get("/health/live", headers=evil)).status_code == 200  # of a load balancer, perhaps
    await with_a_key(gateway)
    assert (await gateway.http.get("/limits", headers=evil)).status_code == 200
    assert code(await gateway.http.post("/orders", json=ORDER, headers=evil), 401) == "unauthorized"


async def test_hosts_that_were_named_and_no_others(module_nats_server: NatsServer) -> None:
    async with gateway_on(module_nats_server, allowed_hosts="trade.example.com") as gateway:
        assert (await gateway.http.get("/limits", headers={"host": "trade.example.com"})).status_code == 200
        await with_a_key(gateway)
        assert (await gateway.http.get("/limits")).status_code == 200
        refused = await gateway.http.get("/limits", headers={"host": "evil.example.com"})
        assert code(refused, 421) == "host_not_allowed"


async def test_a_page_of_another_site_changes_nothing(gateway: Gateway) -> None:
    """A browser sends some requests without asking first, whatever it makes of the answer."""
    for origin in (EVIL, "null", "http://localhost:1"):
        headers = {"origin": origin, "content-type": "application/json"}
        assert code(await gateway.http.post("/orders", json=ORDER, headers=headers), 403) == "origin_not_allowed"
        assert code(await gateway.http.delete("/orders/1", headers=headers), 403) == "origin_not_allowed"
    assert gateway.matcher.requests == []
    ours = {"origin": f"http://127.0.0.1:{gateway.port}"}
    assert (await gateway.http.post("/orders", json=ORDER, headers=ours)).status_code == 201
    asked = {"origin": EVIL, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = await gateway.http.options("/orders", headers=asked)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_once_there_are_keys_a_page_needs_one(gateway: Gateway) -> None:
    await with_a_key(gateway)
    assert code(await gateway.http.post("/orders", json=ORDER, headers={"origin": EVIL}), 401) == "unauthorized"


async def test_a_page_that_was_let_in_may_do_all_that_others_may(module_nats_server: NatsServer) -> None:
    async with gateway_on(module_nats_server, cors_origins=f"{DESK},https://other.example.com") as gateway:
        asked = {
            "origin": DESK,
            "access-control-request-method": "DELETE",
            "access-control-request-headers": "authorization",
        }
        granted = await gateway.http.options("/orders/7", headers=asked)
        assert granted.status_code == 204
        assert granted.headers["access-control-allow-origin"] == DESK
        assert "DELETE" in granted.headers["access-control-allow-methods"]
        allowed = granted.headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "content-type", "idempotency-key", "prefer", "pricetime-signature"} <= set(allowed)
        placed = await gateway.http.post("/orders", json=ORDER, headers={"origin": DESK})
        refused = await gateway.http.post("/orders", json={}, headers={"origin": DESK})
        for status, response in ((201, placed), (400, refused)):
            assert response.status_code == status
            assert response.headers["access-control-allow-origin"] == DESK
            assert response.headers["vary"] == "Origin"
            assert "Journal-Sequence" in response.headers["access-control-expose-headers"].split(", ")
        assert code(await gateway.http.post("/orders", json=ORDER, headers={"origin": EVIL}), 403)
        rebound = await gateway.http.get("/limits", headers={"origin": DESK, "host": "desk.example.com"})
        assert code(rebound, 421) == "host_not_allowed"


async def test_any_page_if_that_is_wanted(module_nats_server: NatsServer) -> None:
    async with gateway_on(module_nats_server, cors_origins="*") as gateway:
        placed = await gateway.http.post("/orders", json=ORDER, headers={"origin": EVIL})
        assert (placed.status_code, placed.headers["access-control-allow-origin"]) == (201, "*")
        assert "access-control-allow-credentials" not in placed.headers


# How many, and for how long


@asynccontextmanager
async def raw(port: int, said: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server ends the connection."""
    said = b""
    async with asyncio.timeout(SECONDS):
        with suppress(ConnectionError):  # what had come before a reset counts; `reader.read()` would forget it
            while part := await reader.read(65536):
                said += part
    return said


async def status(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    return head.split(b" ")[1]


async def test_one_connection_too_many_is_told_so(module_nats_server: NatsServer) -> None:
    async with gateway_on(module_nats_server, http_connections=3) as gateway:
        await gateway.http.aclose()
        async with raw(gateway.port, HEAD) as (one, _), raw(gateway.port, HEAD) as (two, _):
            assert (await status(one), await status(two)) == (b"200", b"200")
            async with raw(gateway.port, HEAD) as (three, _):
                assert await status(three) == b"200"
                async with raw(gateway.port) as (four, _):
                    refusal = await ended(four)
                    assert refusal.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                    assert b"retry-after: 1\r\n" in refusal
                    assert b'"code":"too_many_connections"' in refusal
            async with asyncio.timeout(SECONDS):
                while True:  # until it is noticed that the third has gone
                    async with raw(gateway.port, HEAD) as (again, _):
                        if await status(again) == b"200":
                            break


async def test_one_address_does_not_take_all(module_nats_server: NatsServer) -> None:
    async with gateway_on(module_nats_server, connections_per_address=1) as gateway:
        await gateway.http.aclose()
        async with raw(gateway.port, HEAD) as (one, _):
            assert await status(one) == b"200"
            async with raw(gateway.port) as (two, _):
                assert b"too_many_connections" in await ended(two)


@pytest.fixture
async def impatient(module_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(server_module, "_LOOK_EVERY", 1)
    async with gateway_on(module_nats_server, request_seconds=1.0) as gateway:
        yield gateway


POST = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
UNFINISHED = {
    "nothing at all": (b"", b""),
    "half a request line": (b"GET /lim", b"x"),
    "half a header": (b"GET /limits HTTP/1.1\r\nHost: loc", b"x"),
    "headers without end": (b"GET /limits HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
    "half a second request": (HEAD + b"GET /lim", b"x"),
    "half a body": (POST + b"Content-Length: 99\r\n\r\n{", b" "),
    "a body in pieces without end": (POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "half a body that was refused": (POST.replace(b"json", b"text") + b"Content-Length: 99\r\n\r\n{", b" "),
}


@pytest.mark.parametrize("name", UNFINISHED)
async def test_who_does_not_finish_a_request_is_cut_off(impatient: Gateway, name: str) -> None:
    """However much it sends meanwhile: what counts is when the request is there."""
    said, more = UNFINISHED[name]
    async with raw(impatient.port, said) as (reader, writer):
        dripping = asyncio.create_task(drip(writer, more))
        answered = await ended(reader)
        dripping.cancel()
        assert answered.count(b"HTTP/1.1 ") == (name in ("half a second request", "half a body that was refused"))
    assert impatient.matcher.requests == []


async def drip(writer: asyncio.StreamWriter, more: bytes) -> None:
    with suppress(ConnectionError):
        await send_on(writer, more)


async def send_on(writer: asyncio.StreamWriter, more: bytes) -> None:
    while True:
        await asyncio.sleep(0.02)
        writer.write(more)
        await writer.drain()


async def test_who_has_finished_may_keep_the_connection(impatient: Gateway) -> None:
    async with raw(impatient.port, HEAD) as (patient, writer), raw(impatient.port, b"GET") as (slow, _):
        assert await status(patient) == b"200"
        await ended(slow)
        for _ in range(2):
            writer.write(HEAD)
            assert await status(patient) == b"200"


async def test_who_is_slow_and_never_done_but_gets_on_stays(impatient: Gateway) -> None:
    """Always in the middle of a request, each time another one, for longer than one request may take."""
    half = len(HEAD) // 2
    async with raw(impatient.port, HEAD[:half]) as (reader, writer):
        for _ in range(8):
            await asyncio.sleep(0.15)
            writer.write(HEAD[half:] + HEAD[:half])
            assert await status(reader) == b"200"


async def test_an_order_that_takes_long_is_not_a_slow_client(impatient: Gateway) -> None:
    """The gateway gives up on a silent matcher after a second here; the client has done its part."""
    impatient.matcher.answers = False
    assert code(await impatient.place(), 504) == "result_unknown"


async def test_who_does_not_read_answers_is_cut_off(impatient: Gateway) -> None:
    request = b"GET /docs/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with raw(impatient.port) as (_, writer):
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send_on(writer, request * 20), SECONDS)  # what waits here and there fills up


# TLS


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder() as made:
        yield made


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


async def get(gateway: Gateway, trusted: str, host: str = "127.0.0.1") -> httpx.Response:
    context = ssl.create_default_context(cafile=trusted)
    async with httpx.AsyncClient(verify=context, trust_env=False, timeout=SECONDS) as client:
        return await client.get(f"https://{host}:{gateway.port}/limits")


def tls(shown: Certificate) -> dict[str, str]:
    return {"tls_cert": shown.cert, "tls_key": shown.key}


async def test_https_and_nothing_else(module_nats_server: NatsServer, authority: Authority, folder: Path) -> None:
    settings = tls(authority.issue("127.0.0.1")) | {"allowed_hosts": "trade.example.com"}
    async with gateway_on(module_nats_server, **settings) as gateway:
        answer = await get(gateway, authority.file)
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert (await gateway.place()).status_code == 201
        async with raw(gateway.port, HEAD) as (plain, _):
            assert b"HTTP" not in await ended(plain)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await get(gateway, Authority(folder, "stranger").file)
        with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
            await get(gateway, authority.file, "localhost")


async def test_a_handshake_that_does_not_end_is_cut_off(
    module_nats_server: NatsServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_HANDSHAKE_SECONDS", 0.3)
    async with gateway_on(module_nats_server, **tls(authority.issue("127.0.0.1"))) as gateway:
        async with raw(gateway.port) as (silent, _):
            assert await ended(silent) == b""
        assert (await get(gateway, authority.file)).status_code == 200
