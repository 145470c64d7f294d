"""How each part of a running exchange is: asked over NATS, at Postgres and at the gateway, all at once.

Nobody is waited for long: a part has a second for its answer, and nats-server some for the connection.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from cli.asking import connected
from cli.errors import CommandError
from cli.runfile import RunFile
from contracts.subjects import BROADCASTER_STATUS, MATCHER_STANDBY, MATCHER_STATUS, RECORDER_STATUS
from runtime.connection import close
from runtime.journal import journal_state
from runtime.micro import PREFIX, is_failure
from runtime.service import Refused
from runtime.tls import NatsTls

MAX_LAG = 10_000
"""Commits; the gateway, too, calls a recorder that is further behind not ready."""

_ANSWER_SECONDS = 1.0
_MORE_SECONDS = 0.1
"""How long after one answer another of the same kind is waited for."""

Json = dict[str, Any]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """`sequence`: which commit of the journal it has reached; `lag`: how many it is behind the matcher."""

    part: str
    state: str
    ok: bool
    sequence: int | None = None
    lag: int | None = None
    pid: int | None = None
    more: str = ""
    metrics: str | None = None
    """Where it shows what it measures."""


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """`first`: the oldest commit that is not trimmed."""

    first: int
    last: int
    bytes: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    ready: bool
    """Whether orders can be placed, and history keeps up."""
    journal: Journal | None
    parts: list[Part]

    @property
    def is_well(self) -> bool:
        return self.ready and all(part.ok for part in self.parts)


class Heard(NamedTuple):
    """The answers over NATS, in the order in which they came."""

    journal: Journal | None
    matchers: list[Json]
    standbys: list[Json]
    recorders: list[Json]
    broadcasters: list[Json]
    gateways: list[Json]
    """Of these only that they are there."""

    @property
    def head(self) -> int | None:
        """Where the journal ends, as far as anybody knows."""
        known = [answer["sequence"] for answer in self.matchers]
        return max([*known, *([] if self.journal is None else [self.journal.last])], default=None)


_NOTHING = Heard(None, [], [], [], [], [])


async def look(url: str, tls: NatsTls, running: RunFile | None) -> Report:
    """`running`: of an exchange on this machine, what it says of itself; of one elsewhere NATS tells what it can."""
    (nats, heard), postgres, gateway = await asyncio.gather(_over_nats(url, tls), _postgres(running), _gateway(running))
    parts = [nats, *([] if postgres is None else [postgres]), *services(heard, running)]
    parts += [gateway] if gateway is not None else [_gateway_heard(heard)]
    serves = any(answer.get("serving") for answer in heard.matchers)
    ready = all(part.ok for part in parts) if gateway is None else gateway.ok and serves
    return Report(ready=ready, journal=heard.journal, parts=_with_pids(parts, running))


# NATS, and what can be asked over it


async def _over_nats(url: str, tls: NatsTls) -> tuple[Part, Heard]:
    try:
        connection = await connected(url, tls)
    except (CommandError, Refused) as error:
        return Part(part="nats", state="does not answer", ok=False, more=str(error)), _NOTHING
    try:
        heard = await _hear(connection)
        server = connection._server_info
        cluster = f", cluster {server['cluster']}" if server.get("cluster") else ""
        more = f"nats-server {server.get('version', '?')}{cluster}"
        if heard.journal is None:
            return Part(part="nats", state="has no journal", ok=False, more=more), heard
        return Part(part="nats", state="well", ok=True, sequence=heard.journal.last, more=more), heard
    finally:
        await close(connection)


async def _hear(connection: Client) -> Heard:
    subjects = (MATCHER_STATUS, MATCHER_STANDBY, RECORDER_STATUS, BROADCASTER_STATUS, f"$SRV.PING.{PREFIX}gateway")
    asking = asyncio.gather(*(ask_all(connection, subject) for subject in subjects))
    journal = await _journal(connection)
    return Heard(journal, *await asking)


async def _journal(connection: Client) -> Journal | None:
    try:
        state = await journal_state(connection, timeout=_ANSWER_SECONDS)
    except (NotFoundError, NatsError, TimeoutError):
        return None
    return Journal(first=state.first_seq, last=state.last_seq, bytes=state.bytes)


async def ask_all(connection: Client, subject: str) -> list[Json]:
    """Every answer that comes, until none has come for a moment; none when nobody listens."""
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox, cb=answers.put)
    await connection.publish(subject, b"{}", reply=inbox)
    found: list[Json] = []
    patience = _ANSWER_SECONDS
    try:
        while True:
            message = await asyncio.wait_for(answers.get(), patience)
            if not message.data:
                return []  # the server says that nobody listens
            if not is_failure(message):
                found.append(json.loads(message.data))
            patience = _MORE_SECONDS
    except TimeoutError:
        return found
    finally:
        await subscription.unsubscribe()


# What their answers mean


def services(heard: Heard, running: RunFile | None) -> list[Part]:
    """Matcher, recorder and broadcaster. On this machine there must be a standby if one was started."""
    head = heard.head
    parts = [_matcher(answer, head) for answer in heard.matchers] or [_silent("matcher")]
    standbys = [_standby(answer, head) for answer in heard.standbys]
    if running is not None and "standby" in running.pids and not standbys:
        standbys = [_silent("standby")]
    return [
        *parts,
        *standbys,
        *([_recorder(answer, head) for answer in heard.recorders] or [_silent("recorder")]),
        *([_broadcaster(answer, head) for answer in heard.broadcasters] or [_silent("broadcaster")]),
    ]


def _silent(part: str) -> Part:
    return Part(part=part, state="does not answer", ok=False)


def _lag(sequence: int, head: int | None) -> int:
    return max(0, (sequence if head is None else head) - sequence)


def _matcher(answer: Json, head: int | None) -> Part:
    serving = answer["serving"]
    snapshot = "no snapshot" if answer["snapshot"] is None else f"snapshot at {answer['snapshot']}"
    more = (
        f"epoch {answer['matcher_epoch']}, {answer['resting_orders']} resting orders, "
        f"backlog {answer['backlog']}, {snapshot}"
    )
    return _on_journal("matcher", "serves" if serving else "cannot write", serving, answer, head, more)


def _standby(answer: Json, head: int | None) -> Part:
    ready = answer["ready"]
    return _on_journal("standby", "stands by" if ready else "catches up", ready, answer, head)


def _recorder(answer: Json, head: int | None) -> Part:
    ok = _lag(answer["sequence"], head) <= MAX_LAG
    return _on_journal("recorder", "records" if ok else "far behind", ok, answer, head)


def _broadcaster(answer: Json, head: int | None) -> Part:
    ok = answer["caught_up"]
    more = f"{answer['clients']} clients, {answer['conflated']} conflated"
    return _on_journal("broadcaster", "streams" if ok else "catches up", ok, answer, head, more)


def _on_journal(part: str, state: str, ok: bool, answer: Json, head: int | None, more: str = "") -> Part:
    """A part that says how far in the journal it is."""
    sequence = answer["sequence"]
    return Part(
        part=part, state=state, ok=ok, sequence=sequence, lag=_lag(sequence, head), pid=answer["pid"], more=more
    )


def _gateway_heard(heard: Heard) -> Part:
    if not heard.gateways:
        return _silent("gateway")
    return Part(part="gateway", state="answers", ok=True, more=f"{len(heard.gateways)} of them")


# Postgres and the gateway, of an exchange on this machine


async def _postgres(running: RunFile | None) -> Part | None:
    if running is None:
        return None
    try:
        connection = await asyncpg.connect(running.postgres, timeout=3 * _ANSWER_SECONDS)  # it begins a process for us
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return Part(part="postgres", state="does not answer", ok=False, more=str(error) or type(error).__name__)
    try:
        return Part(part="postgres", state="well", ok=True, more=await _size(connection))
    finally:
        await connection.close(timeout=_ANSWER_SECONDS)


async def _size(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
    version = connection.get_server_version()
    size = await connection.fetchval("select pg_size_pretty(pg_database_size(current_database()))")
    return f"PostgreSQL {version.major}.{version.minor}, {size}"


async def _gateway(running: RunFile | None) -> Part | None:
    if running is None:
        return None
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=2 * _ANSWER_SECONDS, verify=running.https) as client:
            answer = await client.get(f"{running.http}/health/ready")
        checks: Mapping[str, Json] = answer.json()["checks"]
    except (httpx.HTTPError, ValueError, KeyError, Refused) as error:
        return Part(part="gateway", state="does not answer", ok=False, more=str(error) or type(error).__name__)
    if answer.status_code == 200:
        return Part(part="gateway", state="ready", ok=True, more=running.http)
    lacking = "; ".join(f"{name}: {check.get('detail', 'behind')}" for name, check in checks.items() if not check["ok"])
    return Part(part="gateway", state="not ready", ok=False, more=lacking)


def _with_pids(parts: list[Part], running: RunFile | None) -> list[Part]:
    """Those that do not say it themselves, and whether a silent one runs at all; then the nodes of a cluster."""
    if running is None:
        return parts
    found = []
    for part in parts:
        pid = part.pid or running.pids.get(part.part)
        gone = part.state == "does not answer" and not (pid and _is_alive(pid))
        state = "does not run" if gone else part.state
        found.append(replace(part, pid=pid, state=state, metrics=running.metrics.get(part.part)))
    nodes = [(name, pid) for name, pid in sorted(running.pids.items()) if name.startswith("nats-")]
    return [*found, *(_node(name, pid) for name, pid in nodes)]


def _node(name: str, pid: int) -> Part:
    alive = _is_alive(pid)
    return Part(part=name, state="runs" if alive else "does not run", ok=alive, pid=pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
