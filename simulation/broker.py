"""The simulated nats-server: subjects, requests, JetStream's API, and a connection to each client.

It does what a real one was seen to do (tests/simulation/test_conformance.py asks both the same). A connection is two
pipes that keep order; faults delay them, hold them, or cut them with what is inside.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from simulation.loop import Process, SimulatedLoop
from simulation.streams import ApiError, Arrived, Consumer, Disk, Stored, Stream

if TYPE_CHECKING:
    from simulation.client import SimulatedClient

_encode = msgspec.json.encode
_decode = msgspec.json.decode
_API = "$JS.API."
_NO_RESPONDERS = {"Status": "503"}
_NO_STREAM = (404, 10059, "stream not found")
_NO_MESSAGE = (404, 10037, "no message found")
_NO_CONSUMER = (404, 10014, "consumer not found")


class Pipe:
    """One direction of a connection: what goes in comes out in this order, later."""

    def __init__(self, network: "Network", receiver: Process) -> None:
        self._network = network
        self._receiver = receiver
        self._last = 0.0
        self.held_until = 0.0
        self.is_cut = False

    def send(self, arrive: Callable[..., object], *arguments: Any) -> None:
        loop = self._network.loop
        self._last = max(self._last, self.held_until, loop.time()) + self._network.delay()
        loop.call_at(self._last, self._deliver, arrive, arguments, process=self._receiver)

    def _deliver(self, arrive: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        if not self.is_cut:
            arrive(*arguments)


@dataclass
class Subscription:
    link: "Link"
    number: int
    subject: str
    queue: str


class Link:
    """A connection as the server has it."""

    def __init__(self, network: "Network", broker: "Broker", client: "SimulatedClient") -> None:
        self.client = client
        self.up = Pipe(network, broker.process)
        self.down = Pipe(network, client.process)
        self.subscriptions: dict[int, Subscription] = {}
        self.is_open = True
        held = network.held.get(client.process.name)
        if held:
            self.up.held_until = self.down.held_until = held

    def deliver(self, number: int, subject: str, reply: str, payload: bytes, headers: dict[str, str] | None) -> None:
        self.down.send(self.client.receive, self, number, subject, reply, payload, headers)


class Network:
    """How long messages take, and which processes are cut off."""

    def __init__(self, loop: SimulatedLoop, random: Random) -> None:
        self.loop = loop
        self.random = random
        self.slow = 0.0
        """How likely a message takes long."""
        self.held: dict[str, float] = {}
        """By process, until when nothing passes."""
        self.clients = 0
        self.linger = 0.0
        """How long at most the server takes to notice that a client is gone without a word."""

    def delay(self) -> float:
        chance = self.random.random()
        if chance < self.slow:
            return self.random.random() * 0.4
        return 0.0001 + 0.001 * chance * chance


@dataclass
class AckFaults:
    """What the next acknowledgements of the journal come to: each is lost, late or doubled."""

    next: list[str] = field(default_factory=list)


class Broker:
    """`up` while it serves. Streams outlive it; connections and consumers do not."""

    def __init__(self, loop: SimulatedLoop, network: Network, random: Random, epoch: float) -> None:
        self.loop = loop
        self.network = network
        self.random = random
        self.epoch = epoch
        self.process = Process(loop, "nats-server")
        self.up = True
        self.links: list[Link] = []
        self.disk = Disk(self._write_seconds)
        self.slow_writes = 0.0
        self.streams: dict[str, Stream] = {}
        self.ack_faults = AckFaults()
        self.trace: Callable[[str], None] | None = None
        self._exact: dict[str, list[Subscription]] = {}
        self._wild: dict[str, list[Subscription]] = {}
        """Subscriptions that end in the only wildcard they have, by what stands before it."""
        self._consumers = 0
        self.server_id = "SIMULATED"
        self._api: dict[str, Callable[[list[str], dict[str, Any]], dict[str, Any]]] = {
            "STREAM.INFO": self._stream_info,
            "STREAM.CREATE": self._create_stream,
            "STREAM.UPDATE": self._update_stream,
            "STREAM.DELETE": self._delete_stream,
            "STREAM.PURGE": self._purge_stream,
            "STREAM.MSG.GET": self._get_message,
            "CONSUMER.CREATE": self._create_consumer,
            "CONSUMER.DELETE": self._delete_consumer,
        }

    def _write_seconds(self) -> float:
        if self.random.random() < self.slow_writes:
            return self.random.random() * 3
        return 0.0002 + 0.0008 * self.random.random()

    # Life and death

    def crash(self) -> None:
        """kill -9, or a power cut: the same, as everything acknowledged is synced."""
        if not self.up:
            return
        self.up = False
        self.process.kill()
        for link in list(self.links):
            link.up.is_cut = True
            link.is_open = False
            if self.random.random() < 0.5:
                link.down.is_cut = True
            self.loop.call_at(
                max(self.loop.time(), link.down.held_until) + self.network.delay(),
                link.client.lost,
                link,
                process=link.client.process,
            )
        self.links.clear()
        self._exact.clear()
        self._wild.clear()
        for name in [name for name, stream in self.streams.items() if stream.config.get("storage") == "memory"]:
            del self.streams[name]
        for stream in self.streams.values():
            stream.crash(lambda: self.random.random() < 0.5, lambda most: self.random.randint(0, most))

    def start(self) -> None:
        if self.up:
            return
        self.process = Process(self.loop, "nats-server")
        self.disk.is_dead = False
        self.up = True
        self.server_id = f"SIMULATED-{self.loop.time()}"

    def drop(self, link: Link) -> None:
        """The server's end of a connection is gone, and so is all interest."""
        if link.is_open:
            link.is_open = False
            self.links.remove(link)
            for subscription in list(link.subscriptions.values()):
                self._forget(subscription)

    # What clients send

    def subscribe(self, link: Link, number: int, subject: str, queue: str) -> None:
        if not link.is_open:
            return
        subscription = Subscription(link, number, subject, queue)
        link.subscriptions[number] = subscription
        self._table(subject).setdefault(subject.removesuffix("*").removesuffix(">"), []).append(subscription)

    def unsubscribe(self, link: Link, number: int) -> None:
        subscription = link.subscriptions.get(number)
        if subscription is not None:
            self._forget(subscription)

    def _forget(self, subscription: Subscription) -> None:
        del subscription.link.subscriptions[subscription.number]
        subject = subscription.subject
        self._table(subject)[subject.removesuffix("*").removesuffix(">")].remove(subscription)

    def _table(self, subject: str) -> dict[str, list[Subscription]]:
        return self._wild if subject.endswith(("*", ">")) else self._exact

    def ping(self, link: Link) -> None:
        if link.is_open:
            link.down.send(link.client.pong, link)

    def publish(self, link: Link, subject: str, reply: str, payload: bytes, headers: dict[str, str] | None) -> None:
        if not link.is_open:
            return
        if subject.startswith(_API):
            taken = self._ask_api(subject, reply, payload)
        else:
            taken = self.send(subject, subject, reply, payload, headers)
            stream = self._stream_of(subject)
            if stream is not None:
                acknowledge = partial(self._acknowledge, stream.name, reply)
                stream.take(Arrived(subject, payload, headers or {}, acknowledge))
                taken = True
        if not taken and reply:
            for subscription in self._matching(reply):
                if subscription.link is link:
                    link.deliver(subscription.number, reply, "", b"", _NO_RESPONDERS)

    def send(self, to: str, subject: str, reply: str, payload: bytes, headers: dict[str, str] | None) -> bool:
        """To everybody who listens at `to`, and one of each queue. False when there is nobody."""
        found = self._matching(to)
        queues: dict[str, list[Subscription]] = {}
        for subscription in found:
            if subscription.queue:
                queues.setdefault(subscription.queue, []).append(subscription)
            else:
                subscription.link.deliver(subscription.number, subject, reply, payload, headers)
        for members in queues.values():
            chosen = self.random.choice(members)
            chosen.link.deliver(chosen.number, subject, reply, payload, headers)
        return bool(found)

    def _matching(self, subject: str) -> list[Subscription]:
        found = list(self._exact.get(subject, ()))
        if self._wild:
            parent = subject[: subject.rfind(".") + 1]
            for each in self._wild.get(parent, ()):
                found.append(each)
            while parent:
                parent = parent[: parent.rfind(".", 0, -1) + 1]
                found += [each for each in self._wild.get(parent, ()) if each.subject.endswith(">")]
        return found

    def _stream_of(self, subject: str) -> Stream | None:
        for stream in self.streams.values():
            for pattern in stream.config["subjects"]:
                if pattern == subject or (pattern.endswith(".>") and subject.startswith(pattern[:-1])):
                    return stream
        return None

    def _acknowledge(self, name: str, reply: str, content: dict[str, Any]) -> None:
        if not reply:
            return
        payload = _encode(content)
        fault = self.ack_faults.next.pop(0) if name == "JOURNAL" and self.ack_faults.next else ""
        if fault == "lost":
            return
        if fault == "late":
            late = self.loop.time() + self.random.random() * 4
            self.loop.call_at(late, self.send, reply, reply, "", payload, None, process=self.process)
            return
        self.send(reply, reply, "", payload, None)
        if fault == "doubled":
            self.send(reply, reply, "", payload, None)

    # JetStream's API

    def _ask_api(self, subject: str, reply: str, payload: bytes) -> bool:
        tokens = subject.removeprefix(_API).split(".")
        if subject.startswith("$JS.API.CONSUMER.MSG.NEXT."):
            return self._pull(tokens[3], tokens[4], reply, payload)
        if subject.startswith("$JS.API.DIRECT.GET."):
            return self._get_direct(tokens[2], ".".join(tokens[3:]), reply, payload)
        size = 3 if tokens[1] == "MSG" else 2
        operation = self._api.get(".".join(tokens[:size]))
        if operation is None:
            return False
        try:
            content = operation(tokens[size:], _decode(payload) if payload else {})
        except ApiError as error:
            content = {"error": error.content}
        self.send(reply, reply, "", _encode(content), None)
        return True

    def _stream(self, name: str) -> Stream:
        if name not in self.streams:
            raise ApiError(*_NO_STREAM)
        return self.streams[name]

    def _stream_info(self, names: list[str], _: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(names[0])
        return {"config": stream.config, "state": stream.state, "created": "2026-01-01T00:00:00Z"}

    def _create_stream(self, names: list[str], config: dict[str, Any]) -> dict[str, Any]:
        if names[0] in self.streams:
            if self.streams[names[0]].config != config:
                raise ApiError(400, 10058, "stream name already in use with a different configuration")
        else:
            self.streams[names[0]] = Stream(self.loop, self.disk, config)
        return self._stream_info(names, {}) | {"did_create": True}

    def _update_stream(self, names: list[str], config: dict[str, Any]) -> dict[str, Any]:
        self._stream(names[0]).config = config
        return self._stream_info(names, {})

    def _delete_stream(self, names: list[str], _: dict[str, Any]) -> dict[str, Any]:
        for consumer in self._stream(names[0]).consumers.values():
            consumer.end()
        del self.streams[names[0]]
        return {"success": True}

    def _purge_stream(self, names: list[str], request: dict[str, Any]) -> dict[str, Any]:
        return {"success": True, "purged": self._stream(names[0]).purge(request)}

    def _get_message(self, names: list[str], request: dict[str, Any]) -> dict[str, Any]:
        stored = self._find(names[0], request)
        message = {
            "subject": stored.subject,
            "seq": stored.sequence,
            "data": base64.b64encode(stored.payload).decode(),
            "time": self._iso(stored.time),
        }
        if stored.headers:
            lines = "".join(f"{name}: {value}\r\n" for name, value in stored.headers.items())
            message["hdrs"] = base64.b64encode(f"NATS/1.0\r\n{lines}\r\n".encode()).decode()
        return {"message": message}

    def _find(self, name: str, request: dict[str, Any]) -> Stored:
        stream = self._stream(name)
        if subject := request.get("next_by_subj"):
            after = (stored for stored in stream if stored.sequence >= request["seq"] and stored.subject == subject)
            stored = next(after, None)
        elif subject := request.get("last_by_subj"):
            stored = stream.latest(subject)
        else:
            stored = stream.messages.get(request.get("seq", 0))
        if stored is None:
            raise ApiError(*_NO_MESSAGE)
        return stored

    def _get_direct(self, name: str, subject: str, reply: str, payload: bytes) -> bool:
        if name not in self.streams:
            return False
        try:
            stored = self._find(name, {"last_by_subj": subject} if subject else _decode(payload))
        except ApiError:
            self.send(reply, reply, "", b"", {"Status": "404", "Description": "Message Not Found"})
            return True
        about = {
            "Nats-Stream": name,
            "Nats-Subject": stored.subject,
            "Nats-Sequence": str(stored.sequence),
            "Nats-Time-Stamp": self._iso(stored.time),
        }
        self.send(reply, reply, "", stored.payload, stored.headers | about)
        return True

    def _iso(self, time: float) -> str:
        return datetime.fromtimestamp(self.epoch + time, UTC).isoformat().replace("+00:00", "Z")

    def _create_consumer(self, names: list[str], request: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(names[0])
        config = request["config"]
        self._consumers += 1
        name = config.get("name") or f"C{self._consumers}"
        start = config.get("opt_start_seq") or (
            1 if config.get("deliver_policy") == "all" else stream.last_sequence + 1
        )
        stream.consumers[name] = Consumer(stream, name, start, self.send, self.loop)
        zero = {"consumer_seq": 0, "stream_seq": max(start - 1, 0)}
        return {
            "stream_name": stream.name,
            "name": name,
            "created": "2026-01-01T00:00:00Z",
            "config": config,
            "delivered": zero,
            "ack_floor": zero,
            "num_ack_pending": 0,
            "num_redelivered": 0,
            "num_waiting": 0,
            "num_pending": max(stream.last_sequence - start + 1, 0),
        }

    def _delete_consumer(self, names: list[str], _: dict[str, Any]) -> dict[str, Any]:
        consumer = self._stream(names[0]).consumers.pop(names[1], None)
        if consumer is None:
            raise ApiError(*_NO_CONSUMER)
        consumer.end()
        return {"success": True}

    def _pull(self, stream: str, name: str, reply: str, payload: bytes) -> bool:
        if stream not in self.streams or name not in self.streams[stream].consumers:
            return False
        self.streams[stream].consumers[name].pull(reply, _decode(payload))
        return True
