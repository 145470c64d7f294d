"""A TCP proxy between a service and nats-server that loses, holds and cuts: the network on a bad day.

It reads the frames that the server sends, so it can lose single ones: those that `losing` says yes to vanish.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from contracts.subjects import JOURNAL_STREAM
from tests.support.servers import NatsServer

Predicate = Callable[[bytes], bool]
_ACKNOWLEDGEMENT = re.compile(rb'\{"(stream"\s*:\s*"' + JOURNAL_STREAM.encode() + rb'"|error"\s*:)')


def acknowledgements(frame: bytes) -> bool:
    """JetStream's answers to a publish, be they good or bad."""
    return _ACKNOWLEDGEMENT.match(frame.partition(b"\r\n")[2]) is not None


@dataclass
class Proxy:
    server: NatsServer
    url: str = ""
    losing: Predicate | None = None
    """Which frames of the server's are lost."""
    lost: int = 0
    """How many frames have been lost so far."""
    refusing: bool = False
    """Connections are closed at once."""
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, nothing passes, and nothing is lost."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def until_lost(self, number: int) -> None:
        async with asyncio.timeout(30):
            while self.lost < number:
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        self.refusing = True
        self.flowing.set()
        self.cut()
        await asyncio.gather(*self._tasks)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        if not self.refusing:
            await self._join(reader, writer)
        self._writers.remove(writer)
        await _close(writer)
        self._tasks.remove(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(self.server.plan.host, self.server.plan.port)
        except OSError:
            return
        self._writers.add(to_server)
        await asyncio.gather(self._pump(reader, to_server), self._filter(from_server, writer))
        self._writers.remove(to_server)
        await _close(to_server)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65536):
                await self.flowing.wait()
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass  # either side has gone: so does the other
        writer.transport.abort()

    async def _filter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while frame := await _next_frame(reader):
                await self.flowing.wait()
                if self.losing is not None and self.losing(frame):
                    self.lost += 1
                    self._news.set()
                else:
                    writer.write(frame)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    try:
        await writer.wait_closed()
    except OSError:
        pass  # it was broken off, which is what we want


async def _next_frame(reader: asyncio.StreamReader) -> bytes:
    """One line of the NATS protocol, with its payload if it has one."""
    line = await reader.readline()
    if line.startswith((b"MSG ", b"HMSG ")):
        return line + await reader.readexactly(int(line.split()[-1]) + 2)
    return line


@asynccontextmanager
async def proxy_to(server: NatsServer) -> AsyncIterator[Proxy]:
    proxy = Proxy(server)
    proxy.flowing.set()
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2 * 1024 * 1024)
    proxy.url = f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.close()
