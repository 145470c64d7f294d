"""How each nats-server is by its own account: asked at its monitoring port now and then, where somebody reads metrics.

The recorder asks, as it is in no order's way (docs/decisions/0047-the-recorder-looks-after-the-servers.md). What a node
said before it fell silent is not told any more: an old figure would pass for a new one.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec

from runtime import metrics
from runtime.connection import servers_of
from runtime.metrics import Measure
from runtime.metrics_server import Exposition

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 2.0
_STREAMS = 50


class _Server(msgspec.Struct, frozen=True):
    """/varz, as far as it is told here. Not all versions have everything."""

    start: datetime
    connections: int = 0
    max_connections: int = 0
    slow_consumers: int = 0
    cpu: float = 0.0
    """Percent of one core."""
    mem: int = 0


class _State(msgspec.Struct, frozen=True):
    messages: int = 0
    bytes: int = 0


class _Stream(msgspec.Struct, frozen=True):
    name: str
    state: _State = _State()


class _Account(msgspec.Struct, frozen=True):
    stream_detail: tuple[_Stream, ...] = ()


class _Configuration(msgspec.Struct, frozen=True):
    max_storage: int = 0


class _Api(msgspec.Struct, frozen=True):
    errors: int = 0


class _JetStream(msgspec.Struct, frozen=True):
    """/jsz"""

    storage: int = 0
    config: _Configuration = _Configuration()
    api: _Api = _Api()
    account_details: tuple[_Account, ...] = ()


class Node(NamedTuple):
    """What one nats-server says."""

    server: _Server
    jetstream: _JetStream
    healthy: bool


_server = msgspec.json.Decoder(_Server)
_jetstream = msgspec.json.Decoder(_JetStream)


class NatsServers:
    """All nodes that the settings name. Asks nobody unless metrics are shown."""

    def __init__(self, monitor_url: str, shown: Exposition) -> None:
        self._addresses = servers_of(monitor_url)
        self._is_wanted = shown.is_on
        self._found: dict[str, Node | None] = {}
        shown.add(self.measures)

    async def run(self) -> None:
        """Without end."""
        if not self._is_wanted:
            await asyncio.Event().wait()
        import httpx  # here, as it takes a tenth of a second that a recorder without metrics need not spend

        async with httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False) as client:
            while True:
                await asyncio.gather(*(self._look(client, each) for each in self._addresses))
                await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, client: "httpx.AsyncClient", address: str) -> None:
        import httpx

        try:
            self._found[address] = await _ask(client, address)
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError) as error:
            if address not in self._found or self._found[address] is not None:
                log.warning("nats-server at %s does not say how it is: %s", address, error or type(error).__name__)
            self._found[address] = None

    def measures(self) -> Iterator[Measure]:
        for address, node in self._found.items():
            yield from of_node(urlsplit(address).netloc, node)


async def _ask(client: "httpx.AsyncClient", address: str) -> Node:
    server = await client.get(f"{address}/varz")
    jetstream = await client.get(f"{address}/jsz", params={"accounts": "true", "streams": "true"})
    health = await client.get(f"{address}/healthz")  # 503 when it is not well, which is an answer
    for answer in (server, jetstream):
        answer.raise_for_status()
    return Node(_server.decode(server.content), _jetstream.decode(jetstream.content), health.is_success)


def of_node(name: str, node: Node | None) -> Iterator[Measure]:
    """None is one that does not answer."""
    yield metrics.NATS_SERVER_UP.of(node is not None, name)
    if node is None:
        return
    server, jetstream, healthy = node
    yield metrics.NATS_SERVER_HEALTHY.of(healthy, name)
    yield metrics.NATS_SERVER_STARTED.of(server.start.timestamp(), name)
    yield metrics.NATS_SERVER_CONNECTIONS.of(server.connections, name)
    yield metrics.NATS_SERVER_ROOM.of(server.max_connections, name)
    yield metrics.NATS_SERVER_SLOW.of(server.slow_consumers, name)
    yield metrics.NATS_SERVER_CPU.of(server.cpu / 100, name)
    yield metrics.NATS_SERVER_MEMORY.of(server.mem, name)
    yield metrics.JETSTREAM_BYTES.of(jetstream.storage, name)
    yield metrics.JETSTREAM_ROOM.of(jetstream.config.max_storage, name)
    yield metrics.JETSTREAM_ERRORS.of(jetstream.api.errors, name)
    yield from _of_streams(name, jetstream)


def _of_streams(name: str, jetstream: _JetStream) -> Iterator[Measure]:
    """By name alone: two accounts may have streams of the same name, and a label that nobody asks for helps nobody."""
    sizes, messages = Counter[str](), Counter[str]()
    for stream in (each for account in jetstream.account_details for each in account.stream_detail):
        sizes[stream.name] += stream.state.bytes
        messages[stream.name] += stream.state.messages
    for stream_name, size in sizes.most_common(_STREAMS):
        yield metrics.STREAM_BYTES.of(size, name, stream_name)
        yield metrics.STREAM_MESSAGES.of(messages[stream_name], name, stream_name)
