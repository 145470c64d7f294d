"""A TCP proxy before a server that loses, delays, doubles, holds and cuts: the network on a bad day.

It reads the frames that nats-server sends, so it can pick single ones: `losing`, `late` and `doubling` say which. What
it cannot read (Postgres) it passes on in chunks, and can be told to cut at a chunk that holds certain bytes.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Predicate = Callable[[bytes], bool]
Target = Callable[[], tuple[str, int]]

_CHUNK = 65536
_ACKNOWLEDGEMENT = re.compile(rb'\{("(stream)"\s*:\s*"JOURNAL"|"error"\s*:)')
_LATE_SECONDS = 3.0


def acknowledgements(frame: bytes) -> bool:
    """JetStream's answers to a publish on the journal, be they good or bad."""
    return _ACKNOWLEDGEMENT.match(frame.partition(b"\r\n")[2]) is not None


@dataclass
class Proxy:
    """`target`: where the server is, asked for each connection."""

    target: Target
    reads_frames: bool = True
    """Whether the server speaks the protocol of NATS."""
    port: int = 0
    losing: Predicate | None = None
    """Which frames of the server's are lost."""
    late: Predicate | None = None
    """Which come `late_seconds` later than all others."""
    late_seconds: float = _LATE_SECONDS
    doubling: Predicate | None = None
    """Which come twice."""
    cutting: Predicate | None = None
    """Which chunk of the client's ends its connection before it is passed on; once."""
    cutting_after: Predicate | None = None
    """Which chunk of the server's ends the connection instead of being passed on; once."""
    bytes_per_second: int | None = None
    lost: int = 0
    """How many frames have been lost, delayed, doubled or cut at so far."""
    refusing: bool = False
    """Connections are closed at once."""
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, nothing passes, and nothing is lost."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _half_open: set[asyncio.StreamWriter] = field(default_factory=set)
    _believed: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared while somebody is to believe that a half-open connection is well."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._writers)

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def leave_half_open(self) -> None:
        """From now on nothing passes on the connections that there are, and nobody is told; new ones work."""
        self._half_open |= self._writers
        self._believed.clear()

    def leave_one_way_half_open(self, chance: random.Random) -> None:
        """As `leave_half_open`, for one direction of one connection; there must be one."""
        self._half_open.add(chance.choice(list(self._writers)))
        self._believed.clear()

    def end_half_open(self) -> None:
        self._believed.set()
        for writer in self._half_open:
            writer.transport.abort()
        self._half_open.clear()

    async def until_lost(self, number: int, seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while self.lost < number:
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        self.refusing = True
        self.flowing.set()
        self.end_half_open()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            if not self.refusing:
                await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the proxy
        finally:
            self._writers.discard(writer)
            await _close(writer)
            self._tasks.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(*self.target(), limit=2 * 1024 * 1024)
        except OSError:
            return
        self._writers.add(to_server)
        try:
            answers = self._frames if self.reads_frames else self._chunks
            await asyncio.gather(self._requests(reader, to_server), answers(from_server, writer))
        finally:
            self._writers.discard(to_server)
            self._half_open -= {writer, to_server}
            await _close(to_server)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                if self.cutting is not None and self.cutting(chunk):
                    self.cutting = None
                    self._tell()
                    break
                await self._pass(chunk, writer)
        except OSError:
            pass  # either side has gone: so does the other
        await self._end(writer)

    async def _chunks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                if self.cutting_after is not None and self.cutting_after(chunk):
                    self.cutting_after = None
                    self._tell()
                    break
                await self._pass(chunk, writer)
        except OSError:
            pass
        await self._end(writer)

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while frame := await _next_frame(reader):
                await self.flowing.wait()
                if self.losing is not None and self.losing(frame):
                    self._tell()
                elif self.late is not None and self.late(frame):
                    self._tell()
                    asyncio.get_running_loop().call_later(self.late_seconds, _write, writer, frame)
                else:
                    await self._pass(frame, writer)
                    if self.doubling is not None and self.doubling(frame):
                        self._tell()
                        await self._pass(frame, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        await self._end(writer)

    def _tell(self) -> None:
        self.lost += 1
        self._news.set()

    async def _pass(self, chunk: bytes, writer: asyncio.StreamWriter) -> None:
        await self.flowing.wait()
        if writer in self._half_open:
            return
        if self.bytes_per_second is not None:
            await asyncio.sleep(len(chunk) / self.bytes_per_second)
        writer.write(chunk)
        await writer.drain()

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        """The other side learns of it, unless it is to believe that all is well."""
        if writer in self._half_open:
            await self._believed.wait()
        writer.transport.abort()


def _write(writer: asyncio.StreamWriter, frame: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(frame)


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
async def proxy_before(target: Target, *, reads_frames: bool = True, port: int = 0) -> AsyncIterator[Proxy]:
    proxy = Proxy(target, reads_frames)
    proxy.flowing.set()
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", port, limit=2 * 1024 * 1024)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.close()
