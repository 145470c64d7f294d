"""Where commands wait and their results are kept: the JetStream stream COMMANDS and the bucket COMMAND_RESULTS.

A command's message is there from the 202 until its result is stored, and then removed by its ack. So: a result says
what became of a command, a message without a result that it is pending, neither that there is no such command (any
more). Whatever is written twice is refused by the server, not by looking before. docs/decisions/0016.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from contracts.subjects import COMMAND_RESULTS, COMMANDS, COMMANDS_STREAM
from entry.problems import Declined, Problem, declined
from gateway.deferred_commands import FAILED, CommandResult, DeferredCommand
from runtime.settings import Settings

log = logging.getLogger(__name__)

_T = TypeVar("_T")

CONSUMER = "dispatcher"
GROUP = "dispatcher"
ACK_WAIT_SECONDS = 3
"""A gateway that says nothing about a command for so long has lost it to another."""
MAX_UNACKED = 256

_ANSWER_SECONDS = 3
_RETRY_SECONDS = 0.2
_BEYOND_PATIENCE_SECONDS = 86_400
_MAX_RECORD_BYTES = 4_000_000
_NEWEST_FAILURES = 5_000

_WRONG_LAST_SEQUENCE = 10071
_IN_FLIGHT = 10164
"""In a cluster: one of the same subject is on its way to the other nodes. It may come to be stored, or not."""
_IN_USE = 10058
_FULL = (10047, 10054, 10077)
_NANOSECONDS = 1_000_000_000

_encode = msgspec.json.Encoder().encode
_command_decoder = msgspec.json.Decoder(DeferredCommand)
_result_decoder = msgspec.json.Decoder(CommandResult)

Unreachable = (NatsError, TimeoutError, OSError)
"""What the broker's absence looks like; nats.js errors are NatsErrors as well."""


class CommandStore:
    """Raises Declined where a client waits for the answer; `patiently` is for those who have time."""

    def __init__(self, connection: Client, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._jetstream = connection.jetstream(timeout=_ANSWER_SECONDS)

    async def ensure(self) -> None:
        """Create what is not there, and set the limits that the settings want."""
        for wanted in (_commands_stream(self._settings), _results_stream(self._settings)):
            try:
                await self._jetstream.add_stream(wanted)
            except APIError as error:
                if error.err_code != _IN_USE:
                    raise
                await self._jetstream.update_stream(wanted)
        await self._ensure_consumer()

    async def _ensure_consumer(self) -> None:
        """By hand: nats-py does not know priority groups."""
        request = json.dumps({"stream_name": COMMANDS_STREAM, "config": _CONSUMER, "action": ""}).encode()
        subject = f"$JS.API.CONSUMER.CREATE.{COMMANDS_STREAM}.{CONSUMER}"
        answer = json.loads((await self._connection.request(subject, request, timeout=_ANSWER_SECONDS)).data)
        if "error" in answer:
            raise NatsError(f"the consumer of {COMMANDS_STREAM}: {answer['error'].get('description')}")

    async def unacked(self) -> int:
        """How many commands gateways hold, or have lost and not yet been given again."""
        return (await self._jetstream.consumer_info(COMMANDS_STREAM, CONSUMER)).num_ack_pending or 0

    async def put(self, command: DeferredCommand) -> bool:
        """Store it durably; False if one with its id waits already. Raises Declined."""
        if not self._connection.is_connected:  # nats-py would keep it, and send it when nobody expects it any more
            raise _unavailable()
        subject = COMMANDS.replace("*", command.command_id)
        try:
            return await self._put_made(subject, _encode(command))
        except APIError as error:
            if error.err_code in _FULL:
                raise _full() from None
            if error.err_code == _IN_FLIGHT:
                raise _unknown(command) from None
            log.warning("a command cannot be stored: %s", error.description)
            raise _unavailable() from None
        except (NoRespondersError, NoStreamResponseError):
            raise _unavailable() from None
        except Unreachable:
            raise _unknown(command) from None

    async def _put_made(self, subject: str, record: bytes) -> bool:
        try:
            return await self._put_new(subject, record)
        except (NoRespondersError, NoStreamResponseError):  # the first one on a new broker
            await self.ensure()
            return await self._put_new(subject, record)

    async def _put_new(self, subject: str, record: bytes) -> bool:
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        try:
            await self._jetstream.publish(subject, record, headers=headers)
            return True
        except APIError as error:
            if error.err_code == _WRONG_LAST_SEQUENCE:
                return False
            raise

    async def pending(self, command_id: str) -> DeferredCommand | None:
        record = await self._read(COMMANDS_STREAM, COMMANDS.replace("*", command_id))
        try:
            return None if record is None else _command_decoder.decode(record)
        except msgspec.MsgspecError:
            return None  # nobody was promised anything: no gateway has written this

    async def result(self, command_id: str) -> CommandResult | None:
        record = await self._read(_BUCKET_STREAM, _key(command_id))
        return None if record is None else _result_decoder.decode(record)

    async def finish(self, result: CommandResult) -> None:
        """Keep the result. The first one of a command stands; failures are listed as well."""
        record = _encode(result)
        if len(record) > _MAX_RECORD_BYTES:
            record = _encode(msgspec.structs.replace(result, answer=_TOO_LARGE))
        await self._put_new(_key(result.command.command_id), record)
        if result.status == FAILED:
            await self.list_failure(result.command)

    async def list_failure(self, command: DeferredCommand) -> None:
        """By time, so that the newest are found by name. Any number of times."""
        name = f"failed.{command.created_at:016}.{command.command_id}"
        await self._jetstream.publish(_key(name), command.command_id.encode())

    async def failures(self) -> list[str]:
        """The ids of failed commands, newest first."""
        try:
            found = await self._jetstream.stream_info(_BUCKET_STREAM, subjects_filter=_key("failed.>"))
        except NotFoundError:
            return []
        except Unreachable:
            raise _unavailable() from None
        names = sorted(found.state.subjects or (), reverse=True)
        return [name.rsplit(".", 1)[-1] for name in names[:_NEWEST_FAILURES]]

    async def count_attempt(self, command_id: str) -> int:
        """Note one more attempt of a command that was begun before, perhaps by a gateway that is no more."""
        key = _key(f"attempts.{command_id}")
        record = await self._read(_BUCKET_STREAM, key)
        count = 1 if record is None else int(record) + 1
        await self._jetstream.publish(key, b"%d" % count)
        return count

    async def _read(self, stream: str, subject: str) -> bytes | None:
        try:
            return (await self._jetstream.get_last_msg(stream, subject)).data
        except NotFoundError:
            return None
        except Unreachable:
            raise _unavailable() from None

    async def patiently(self, step: Callable[[], Awaitable[_T]]) -> _T:
        """The step's answer, however long the broker is away."""
        while True:
            try:
                return await step()
            except (*Unreachable, Declined) as error:
                log.warning("commands wait for the broker (%s)", error or type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)


_BUCKET_STREAM = f"KV_{COMMAND_RESULTS}"
_TOO_LARGE = msgspec.Raw(b'{"detail":"The answer was too large to be kept. GET /orders shows what became of it."}')
_CONSUMER = {
    "name": CONSUMER,
    "durable_name": CONSUMER,
    "description": "Carries out stored commands; one gateway at a time, so that they keep their order",
    "deliver_policy": "all",
    "ack_policy": "explicit",
    "ack_wait": ACK_WAIT_SECONDS * _NANOSECONDS,
    "max_deliver": -1,
    "max_ack_pending": MAX_UNACKED,
    "replay_policy": "instant",
    "priority_groups": [GROUP],
    "priority_policy": "pinned_client",
    "priority_timeout": ACK_WAIT_SECONDS * _NANOSECONDS,
}


def _key(name: str) -> str:
    return f"$KV.{COMMAND_RESULTS}.{name}"


def _commands_stream(settings: Settings) -> StreamConfig:
    """Full means refused, never forgotten: what is stored here was promised to somebody."""
    return StreamConfig(
        name=COMMANDS_STREAM,
        description="Requests answered with 202 that have not been carried out yet",
        subjects=[COMMANDS],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs=settings.deferred_commands,
        max_bytes=settings.deferred_bytes,
        max_age=settings.deferred_patience_seconds + _BEYOND_PATIENCE_SECONDS,
        num_replicas=settings.replicas,
    )


def _results_stream(settings: Settings) -> StreamConfig:
    """A key-value bucket as every NATS client knows it."""
    return StreamConfig(
        name=_BUCKET_STREAM,
        description="What became of deferred commands",
        subjects=[f"$KV.{COMMAND_RESULTS}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        max_age=settings.deferred_results_seconds,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_direct=True,
        num_replicas=settings.replicas,
    )


def _full() -> Declined:
    return declined(
        "too_many_deferred",
        "Nothing was stored: as many commands wait as may. Send it again after Retry-After seconds, or without Prefer: "
        "respond-async.",
    )


def _unavailable() -> Declined:
    return declined(
        "commands_unavailable", "The broker that keeps deferred commands cannot be asked now. Nothing was stored."
    )


def _unknown(command: DeferredCommand) -> Declined:
    return Declined(
        Problem(
            code="result_unknown",
            detail=f"Whether the command was stored is not known. GET /commands/{command.command_id} tells; sending it "
            "again is safe with the same Idempotency-Key or client_order_id.",
        )
    )
