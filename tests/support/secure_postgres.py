"""Postgres behind TLS, for tests: the Postgres that they run is built without it.

What answers is a front that speaks TLS as Postgres does, on request, and passes on what is inside.
"""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.certificates import Certificate

_SSL_REQUEST = struct.pack("!II", 8, 80_877_103)


@dataclass
class SecurePostgres:
    url: str
    """Without a word on TLS: append the query that a client is to be tried with."""
    secured: int = 0
    """How many connections went over TLS."""
    plain: list[bytes] = field(default_factory=list)
    """What came without."""


@asynccontextmanager
async def secure_postgres(url: str, shown: Certificate | None) -> AsyncIterator[SecurePostgres]:
    """In front of the Postgres at `url`; None: it does not do TLS."""
    behind = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            first = await reader.readexactly(8)
            assert first == _SSL_REQUEST
            if context is None:
                writer.write(b"N")
                front.plain.append(await reader.read(1000))
            else:
                writer.write(b"S")
                await writer.start_tls(context)
                front.secured += 1
                await _joined(reader, writer, behind.hostname or "", behind.port or 0)
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer)))

    context = None if shown is None else ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if context is not None and shown is not None:
        context.load_cert_chain(shown.cert, shown.key)
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        front = SecurePostgres(behind._replace(netloc=f"{behind.netloc.rpartition(':')[0]}:{port}").geturl())
        yield front
        await asyncio.gather(*tasks)


async def _joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    """Pass on both ways until one end is done."""
    their_reader, their_writer = await asyncio.open_connection(host, port)
    ways = [
        asyncio.create_task(_pass_on(reader, their_writer)),
        asyncio.create_task(_pass_on(their_reader, writer)),
    ]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for each in ways:
        each.cancel()
    await asyncio.gather(*ways, return_exceptions=True)
    their_writer.close()
    with suppress(ConnectionError):
        await their_writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
