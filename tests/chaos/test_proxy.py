"""Each thing that the proxy does to a connection, against a server that says everything twice as loud."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chaos.proxy import Proxy, acknowledgements, proxy_before

ACK = b'MSG inbox 1 33\r\n{"stream":"JOURNAL","seq":1}     \r\n'
OTHER = b"MSG inbox 1 5\r\nhello\r\n"


@asynccontextmanager
async def proxied(*, reads_frames: bool) -> AsyncIterator[tuple[Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of an echo, with the proxy in between."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # cut
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxy_before(lambda: ("127.0.0.1", port), reads_frames=reads_frames) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            yield proxy, reader, writer
        finally:
            writer.close()


async def received(reader: asyncio.StreamReader, seconds: float = 0.1) -> bytes:
    found = b""
    try:
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(65536):
                found += chunk
    except TimeoutError:
        pass
    return found


async def has_ended(reader: asyncio.StreamReader) -> bool:
    """Closed, or reset."""
    try:
        return await asyncio.wait_for(reader.read(6), 60) == b""
    except ConnectionResetError:
        return True


def test_acknowledgements_of_the_journal_are_told_from_the_rest() -> None:
    assert acknowledgements(ACK)
    assert acknowledgements(b'MSG inbox 1 9\r\n{"error":{"code":400}}\r\n')
    assert not acknowledgements(OTHER)
    assert not acknowledgements(b'MSG inbox 1 9\r\n{"stream":"KV_KEYS","seq":1}\r\n')


@pytest.mark.parametrize(
    ("trouble", "shown"), [("", ACK + OTHER), ("losing", OTHER), ("doubling", ACK + ACK + OTHER), ("late", OTHER + ACK)]
)
async def test_single_frames_are_lost_doubled_and_late(trouble: str, shown: bytes) -> None:
    async with proxied(reads_frames=True) as (proxy, reader, writer):
        proxy.late_seconds = 0.1
        if trouble:
            setattr(proxy, trouble, acknowledgements)
        writer.write(ACK + OTHER)
        assert await reader.readexactly(len(shown)) == shown
        assert await received(reader) == b""
        assert proxy.lost == bool(trouble)


@pytest.mark.parametrize("trouble", ["cutting", "cutting_after"])
async def test_a_connection_is_cut_at_what_it_carries(trouble: str) -> None:
    async with proxied(reads_frames=False) as (proxy, reader, writer):
        setattr(proxy, trouble, lambda chunk: b"COMMIT" in chunk)
        writer.write(b"begin")
        assert await reader.read(5) == b"begin"
        writer.write(b"COMMIT")
        assert await has_ended(reader)
        assert proxy.lost == 1


async def test_nothing_passes_while_it_is_held_and_all_of_it_afterwards() -> None:
    async with proxied(reads_frames=False) as (proxy, reader, writer):
        proxy.flowing.clear()
        writer.write(b"held")
        assert await received(reader, 0.1) == b""
        proxy.flowing.set()
        assert await reader.read(4) == b"held"


async def test_a_half_open_connection_carries_nothing_and_ends_when_it_is_told_to() -> None:
    async with proxied(reads_frames=False) as (proxy, reader, writer):
        writer.write(b"before")
        assert await reader.read(6) == b"before"
        proxy.leave_half_open()
        writer.write(b"lost")
        assert await received(reader, 0.1) == b""
        assert not reader.at_eof()
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        other_writer.write(b"a new one works")
        assert await other_reader.read(15) == b"a new one works"
        other_writer.close()
        proxy.end_half_open()
        assert await has_ended(reader)
