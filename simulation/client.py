"""nats-py's client as the services use it, on the simulated nats-server.

JetStream's managers are nats-py's own; what is modelled is the connection: what is published while disconnected is sent
after the reconnection, requests under way are not failed by a disconnection, and each subscription handles one message
after the other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any

import msgspec
from nats import errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, JetStreamManager
from nats.js.api import StreamConfig, StreamInfo, StreamState
from nats.js.errors import APIError, ServiceUnavailableError

from simulation.broker import Broker, Link, Network

_DIAL_SECONDS = 2.0
url_of_the_server = "nats://simulated"


class _Running:
    """Stands for a task of nats-py that never ends."""

    def done(self) -> bool:
        return False


class SimulatedSubscription:
    def __init__(
        self,
        client: "SimulatedClient",
        number: int,
        subject: str,
        queue: str,
        cb: Callable[[Msg], Awaitable[None]] | None,
    ) -> None:
        self._client = client
        self._number = number
        self.subject = subject
        self.queue = queue
        self._cb = cb
        self._pending: deque[Msg] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._closed = False

    @property
    def pending_msgs(self) -> int:
        return len(self._pending)

    def put(self, message: Msg) -> None:
        if self._closed:
            return
        self._pending.append(message)
        if self._cb is None:
            self._arrived.set()
        elif self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work(self._cb))

    async def _work(self, cb: Callable[[Msg], Awaitable[None]]) -> None:
        while self._pending:
            try:
                await cb(self._pending.popleft())
            except Exception as error:
                await self._client.report(error)
        self._worker = None

    async def next_msg(self, timeout: float | None = 1.0) -> Msg:
        try:
            async with asyncio.timeout(timeout):
                while not self._pending:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise errors.TimeoutError from None
        return self._pending.popleft()

    async def unsubscribe(self, limit: int = 0) -> None:
        if self._client.is_closed:
            raise errors.ConnectionClosedError
        self._closed = True
        self._client.forget(self._number)

    async def drain(self) -> None:
        """No more from now on; return when what is here already has been handled."""
        if self._client.is_closed:
            raise errors.ConnectionClosedError
        self._client.forget(self._number, for_good=False)
        await self._client.flush()
        while self._worker is not None and not self._worker.done():
            await asyncio.wait([self._worker])
        self._closed = True
        self._client.forget(self._number)


_configurations: dict[bytes, StreamConfig] = {}


class _Info(msgspec.Struct):
    config: msgspec.Raw = msgspec.Raw()
    state: dict[str, Any] = {}
    error: dict[str, Any] | None = None


_info_decoder = msgspec.json.Decoder(_Info)


class _Manager(JetStreamManager):
    """nats-py's own; what is asked most often is read faster."""

    async def stream_info(self, name: str, subjects_filter: str | None = None) -> StreamInfo:
        try:
            message = await self._nc.request(f"{self._prefix}.STREAM.INFO.{name}", b"", timeout=self._timeout)
        except errors.NoRespondersError:
            raise ServiceUnavailableError from None
        info = _info_decoder.decode(message.data)
        if info.error is not None:
            raise APIError.from_error(info.error)
        encoded = bytes(info.config)
        config = _configurations.get(encoded)
        if config is None:
            config = _configurations[encoded] = StreamConfig.from_response(msgspec.json.decode(encoded))
        return StreamInfo(config, StreamState(**info.state))


class SimulatedClient:
    """What nats.aio.client.Client is, as far as it is used here."""

    def __init__(self, network: Network, broker: Broker) -> None:
        self._loop = network.loop
        self._network = network
        self._broker = broker
        self.process = network.loop.current
        self.options: dict[str, Any] = {}
        self.stats = {"reconnects": 0}
        self.is_closed = False
        self._link: Link | None = None
        self._subscriptions: dict[int, SimulatedSubscription] = {}
        self._numbers = 0
        self._tokens = 0
        self._pending: list[tuple[str, str, bytes, dict[str, str] | None]] = []
        self._requests: dict[str, asyncio.Future[Msg]] = {}
        self._request_prefix = ""
        self._pongs: deque[asyncio.Future[None]] = deque()
        self._reading_task = self._reconnection_task = _Running()
        self._server_info: dict[str, Any] = {}
        self.connected_server_version = SimpleNamespace(major=2, minor=15, patch=1)
        self._nuid = SimpleNamespace(next=lambda: bytearray(self._token().encode()))
        self._redialing: asyncio.Task[None] | None = None
        self.max_payload = 1024 * 1024
        self._server_pool = [url_of_the_server]

    @property
    def is_connected(self) -> bool:
        return self._link is not None and not self.is_closed

    @property
    def is_reconnecting(self) -> bool:
        return self._link is None and not self.is_closed

    def _token(self) -> str:
        self._tokens += 1
        return f"{id_of(self)}{self._tokens:06d}"

    # Connection

    async def open(self, servers: list[str], **options: Any) -> None:
        """As runtime.connection's own client has it."""
        await self.connect(servers, **options)

    async def connect(self, servers: str | list[str], **options: Any) -> None:
        self.options = options
        self.number = self._network_number()
        self.process.on_death.append(self._killed)
        await self._dial_until_connected()
        self._settle()

    def _network_number(self) -> int:
        self._network.clients += 1
        return self._network.clients

    async def _dial_until_connected(self) -> None:
        while not await self._dial():  # noqa: ASYNC110 (as nats-py does)
            await asyncio.sleep(self.options.get("reconnect_time_wait", 2))

    async def _dial(self) -> bool:
        """One attempt to connect."""
        await asyncio.sleep(self._network.delay())
        held = self._network.held.get(self.process.name, 0.0) - self._loop.time()
        if held > 0:
            await asyncio.sleep(min(held, _DIAL_SECONDS))
            return False
        if not self._broker.up or self._broker.process.paused:
            return False
        self._server_info = {"server_id": self._broker.server_id, "version": "2.15.1"}
        link = Link(self._network, self._broker, self)
        self._broker.links.append(link)
        self._new = link
        return True

    def _settle(self) -> None:
        link = self._link = self._new
        for number, subscription in self._subscriptions.items():
            link.up.send(self._broker.subscribe, link, number, subscription.subject, subscription.queue)
        pending, self._pending = self._pending, []
        for subject, reply, payload, headers in pending:
            link.up.send(self._broker.publish, link, subject, reply, payload, headers)
        if not link.is_open:
            self.lost(link)

    def lost(self, link: Link) -> None:
        """The connection is gone; nats-py tries to connect again until it succeeds."""
        if link is not self._link or self.is_closed:
            return
        self._link = None
        self._pongs.clear()
        if self._broker.up and link.is_open:
            self._hang_up(link)
        self._redialing = self._loop.create_task(self._redial())

    def _hang_up(self, link: Link) -> None:
        """What is still on its way may arrive or not; then the server notices."""
        if self._network.random.random() < 0.5:
            link.up.is_cut = True
            self._loop.call_at(
                self._loop.time() + self._network.delay() + self._network.random.random() * self._network.linger,
                self._broker.drop,
                link,
                process=self._broker.process,
            )
        else:
            link.up.send(self._broker.drop, link)
        link.down.is_cut = True

    async def _redial(self) -> None:
        if callback := self.options.get("disconnected_cb"):
            await callback()
        await self._dial_until_connected()
        self.stats["reconnects"] += 1
        self._settle()
        if callback := self.options.get("reconnected_cb"):
            await callback()

    def _killed(self) -> None:
        """The operating system closes the socket of a dead process."""
        if self._link is not None and self._broker.up and self._link.is_open:
            self._link.up.send(self._broker.drop, self._link)
        self._link = None

    async def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if self._redialing is not None:
            self._redialing.cancel()
        link, self._link = self._link, None
        if link is not None and link.is_open:
            link.up.send(self._broker.drop, link)

    async def report(self, error: Exception) -> None:
        if callback := self.options.get("error_cb"):
            await callback(error)

    # Messages

    def new_inbox(self) -> str:
        return f"{self.options.get('inbox_prefix', '_INBOX')}.{self._token()}"

    async def publish(
        self, subject: str, payload: bytes = b"", reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self._publish(subject, payload, reply, headers)

    def _publish(self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        if self.is_closed:
            raise errors.ConnectionClosedError
        if len(payload) > self.max_payload:
            raise errors.MaxPayloadError
        if self._link is None:
            self._pending.append((subject, reply, payload, headers))
        else:
            self._link.up.send(self._broker.publish, self._link, subject, reply, payload, headers)

    async def subscribe(
        self,
        subject: str,
        queue: str = "",
        cb: Callable[[Msg], Awaitable[None]] | None = None,
        pending_msgs_limit: int = 0,
        pending_bytes_limit: int = 0,
    ) -> SimulatedSubscription:
        if self.is_closed:
            raise errors.ConnectionClosedError
        self._numbers += 1
        subscription = SimulatedSubscription(self, self._numbers, subject, queue, cb)
        self._subscriptions[self._numbers] = subscription
        if self._link is not None:
            self._link.up.send(self._broker.subscribe, self._link, self._numbers, subject, queue)
        return subscription

    async def listen(
        self, subject: str, listener: Callable[[str, str, bytes, dict[str, str] | None], None]
    ) -> SimulatedSubscription:
        """As runtime.nats_client has it."""

        async def hear(message: Msg) -> None:
            listener(message.subject, message.reply, message.data, message.headers)

        return await self.subscribe(subject, cb=hear)

    def post(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """The same."""
        for subject, payload in messages:
            self._publish(subject, payload)

    def forget(self, number: int, for_good: bool = True) -> None:
        if for_good:
            self._subscriptions.pop(number, None)
        if self._link is not None:
            self._link.up.send(self._broker.unsubscribe, self._link, number)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        if not self._request_prefix:
            self._request_prefix = self.new_inbox()
            await self.subscribe(f"{self._request_prefix}.*")
            self._request_subscription = self._numbers
        token = self._token()
        future: asyncio.Future[Msg] = self._loop.create_future()
        self._requests[token] = future
        try:
            await self.publish(subject, payload, f"{self._request_prefix}.{token}", headers)
            timer = self._loop.call_later(timeout, _time_out, future)
            try:
                message = await future
            finally:
                timer.cancel()
        finally:
            del self._requests[token]
        if message.headers and message.headers.get("Status") == "503":
            raise errors.NoRespondersError
        return message

    async def flush(self, timeout: float = 10) -> None:
        if self.is_closed:
            raise errors.ConnectionClosedError
        future: asyncio.Future[None] = self._loop.create_future()
        if self._link is not None:
            self._pongs.append(future)
            self._link.up.send(self._broker.ping, self._link)
        timer = self._loop.call_later(timeout, _time_out_flush, future)
        try:
            await future
        finally:
            timer.cancel()

    def pong(self, link: Link) -> None:
        if link is self._link and self._pongs:
            future = self._pongs.popleft()
            if not future.done():
                future.set_result(None)

    def receive(
        self, link: Link, number: int, subject: str, reply: str, payload: bytes, headers: dict[str, str] | None
    ) -> None:
        if link is not self._link:
            return
        subscription = self._subscriptions.get(number)
        if subscription is None:
            return
        message = Msg(self, subject, reply, payload, dict(headers) if headers else None)  # type: ignore[arg-type]
        if self._request_prefix and number == self._request_subscription:
            future = self._requests.get(subject.rsplit(".", 1)[-1])
            if future is not None and not future.done():
                future.set_result(message)
            return
        subscription.put(message)

    def jetstream(self, **options: Any) -> JetStreamContext:
        return JetStreamContext(self, **options)  # type: ignore[arg-type]

    def jsm(self, **options: Any) -> JetStreamManager:
        return _Manager(self, **options)  # type: ignore[arg-type]


def id_of(client: SimulatedClient) -> str:
    return f"{client.number:04d}"


def _time_out(future: "asyncio.Future[Msg]") -> None:
    if not future.done():
        future.set_exception(errors.TimeoutError())


def _time_out_flush(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_exception(errors.FlushTimeoutError())
