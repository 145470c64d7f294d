"""Many rows through the gateway: in constant memory, at the client's pace, and nothing is left of who has gone."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from gateway import export
from gateway.export import MAX_EXPORTS
from recorder.schema import migrate
from tests.gateway.test_service import is_live, start
from tests.support.gateways import Gateway, running_gateway
from tests.support.servers import NatsServer, PostgresServer, start_postgres, temporary_folder, wait_until

pytestmark = pytest.mark.stack

ROWS = 400_000
CSV_BYTES = 60 * ROWS
"""At least so large is an export of all of them."""
MEBIBYTE = 1024 * 1024
LAST_CHUNK = b"\r\n0\r\n\r\n"
"""With the end of the chunk before it: a row can end with a nought as well."""

FILL = f"""
drop index trades_by_symbol, trades_by_maker, trades_by_taker;
insert into instruments (symbol, tick_size, lot_size, min_quantity, max_quantity, status, sequence)
values ('BTC-USD', '0.01', '0.001', 1, 1000000, 'trading', 1);
insert into trades
select g, 'BTC-USD', 10000 + g % 100, 1 + g % 7, 'buy', g, g + 1, timestamptz '2025-01-01' + g * interval '1 ms', g
from generate_series(1, {ROWS}) g;
analyze trades
"""


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with temporary_folder() as folder:
        server = start_postgres(folder)
        yield server
        server.stop()


@pytest.fixture(scope="module")
def many(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.fresh_database() as url:
        asyncio.run(_fill(url))
        yield url


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    await migrate(connection)
    await connection.execute(FILL)
    await connection.close()


@pytest.fixture
async def gateway(module_nats_server: NatsServer, many: str) -> AsyncIterator[Gateway]:
    async with running_gateway(module_nats_server.url, many) as running:
        await running.matcher.record()
        yield running


@pytest.fixture
async def admin(many: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(many)
    yield connection
    await connection.close()


class SlowClient:
    """Asks for an export and takes what it is told to, no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def rest(self) -> bytes:
        return await self.reader.read()


@asynccontextmanager
async def slow_client(port: int, path: str = "/export/trades") -> AsyncIterator[SlowClient]:
    """With little room for what it has not read, so that it is felt soon; the beginning of the answer is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = await reader.readline()
    assert status == b"HTTP/1.1 200 OK\r\n"
    try:
        yield SlowClient(reader, writer)
    finally:
        writer.close()


async def until_exporting(admin: asyncpg.Connection, count: int, waiting_for: str | None = None) -> None:
    """Until so many exports are open in Postgres, each of them held up by its client if that is what is asked."""
    async with asyncio.timeout(60):
        while True:
            found = await admin.fetch(
                "select wait_event from pg_stat_activity where application_name = 'pricetime export'"
            )
            if len(found) == count and (waiting_for is None or {row[0] for row in found} <= {waiting_for}):
                return
            await asyncio.sleep(0.02)


def test_the_memory_does_not_grow_with_the_rows(module_nats_server: NatsServer, many: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url, fd = f"http://127.0.0.1:{listener.getsockname()[1]}", listener.fileno()
        process = start(module_nats_server.url, tmp_path / "log", inherited=fd, http_fd=fd, postgres_url=many)
        try:
            assert wait_until(lambda: is_live(url))
            assert _export(url, "csv&to=2025-01-01T00:00:01Z") == (999 + 1, 999)
            before = _most_memory(process.pid)
            lines, last = _export(url, "csv")
            assert (lines, last) == (ROWS + 1, ROWS)
            assert _export(url, "ndjson")[0] == ROWS
            assert _most_memory(process.pid) - before < 16 * MEBIBYTE
        finally:
            process.terminate()
            process.wait(60)


def _export(url: str, form: str) -> tuple[int, int]:
    """How many lines there are, and the trade in the last one if it is CSV."""
    lines = size = 0
    tail = b""
    with httpx.stream("GET", f"{url}/export/trades?format={form}", timeout=60, trust_env=False) as response:
        assert response.status_code == 200
        for chunk in response.iter_raw():
            lines += chunk.count(b"\n")
            size += len(chunk)
            tail = (tail + chunk)[-200:]
    assert size > CSV_BYTES * lines // ROWS // 2
    first = tail.splitlines()[-1].split(b",")[0]
    return lines, int(first) if first.isdigit() else 0


def _most_memory(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


async def test_a_slow_client_holds_up_postgres_and_gets_everything(gateway: Gateway, admin: asyncpg.Connection) -> None:
    async with slow_client(gateway.port) as client:
        await until_exporting(admin, 1, "ClientWrite")
        assert (await gateway.http.get("/trades?limit=1")).status_code == 200
        rest = await client.rest()
    assert rest.count(b"\n") > ROWS
    assert rest.endswith(LAST_CHUNK)
    await until_exporting(admin, 0)


@pytest.fixture
async def endless(admin: asyncpg.Connection) -> AsyncIterator[None]:
    """Each trade a million times: an export that nobody sees the end of."""
    view = (await admin.fetchval("select pg_get_viewdef('trades_decimal')")).rstrip(";")
    await admin.execute(f"create or replace view trades_decimal as {view} cross join (select from trades) again")
    yield
    await admin.execute(f"create or replace view trades_decimal as {view}")


@pytest.mark.usefixtures("endless")
async def test_a_client_that_leaves_frees_the_connection(gateway: Gateway, admin: asyncpg.Connection) -> None:
    async with slow_client(gateway.port):
        await until_exporting(admin, 1, "ClientWrite")
    await until_exporting(admin, 0)


@pytest.mark.usefixtures("endless")
async def test_a_client_that_leaves_while_it_takes_everything_frees_the_connection(
    gateway: Gateway, admin: asyncpg.Connection
) -> None:
    async with gateway.http.stream("GET", "/export/trades") as response:
        chunks = response.aiter_raw()
        for _ in range(20):
            await anext(chunks)
        await chunks.aclose()
    await until_exporting(admin, 0)


async def test_a_client_that_takes_nothing_is_left(
    gateway: Gateway, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_STALLED_SECONDS", 0.3)
    async with slow_client(gateway.port) as client:
        await until_exporting(admin, 1)
        await until_exporting(admin, 0)
        rest = await client.rest()
    assert not rest.endswith(LAST_CHUNK), "the client sees that the end is missing"


async def test_so_many_exports_at_a_time(
    gateway: Gateway, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_WAIT_SECONDS", 0.5)
    clients = [slow_client(gateway.port) for _ in range(MAX_EXPORTS)]
    for each in clients:
        await each.__aenter__()
    await until_exporting(admin, MAX_EXPORTS, "ClientWrite")
    refused = await gateway.http.get("/export/orders")
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"]
    assert (await gateway.http.get("/trades?limit=1")).status_code == 200
    for each in clients:
        await each.__aexit__(None, None, None)
    await until_exporting(admin, 0)
    assert (await gateway.http.get("/export/orders")).status_code == 200


async def test_an_export_that_postgres_ends_is_not_taken_for_complete(
    gateway: Gateway, admin: asyncpg.Connection
) -> None:
    async with slow_client(gateway.port) as client:
        await until_exporting(admin, 1, "ClientWrite")
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pricetime export'"
        )
        rest = await client.rest()
    assert not rest.endswith(LAST_CHUNK)
    assert rest.count(b"\n") < ROWS


async def test_without_postgres(module_nats_server: NatsServer) -> None:
    async with running_gateway(module_nats_server.url) as running:
        response = await running.http.get("/export/orders")
        assert (response.status_code, response.json()["code"]) == (503, "history_unavailable")
