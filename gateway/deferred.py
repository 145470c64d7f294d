"""The 202 path: `Prefer: respond-async` stores a request durably and answers where to look for its result.

Before it is stored the request passes every check that needs no matcher; what is checked later, and how it is carried
out, is in docs/deferred.md.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts.keys import Access, Scope
from contracts.views import format_time
from entry.bodies import Fields, read_fields
from entry.commands import is_name, with_key
from entry.instruments import Instruments
from entry.matcher_client import MatcherClient
from entry.position import Position
from entry.problems import Declined, declined, quoted
from gateway.access import charge
from gateway.deferred_attempts import CheckingMatcher, OnceInstruments, OnceMatcher, WouldBeSent
from gateway.deferred_commands import (
    COMPLETED,
    DEFERRABLE,
    FAILED,
    PENDING,
    RESPOND_ASYNC,
    CommandResult,
    DeferredCommand,
    client_key,
    derived_id,
    fingerprint,
    may_see,
    owner_of,
    prefers_async,
    with_client_order_ids,
    write_fields,
)
from gateway.deferred_dispatch import Dispatcher, handled
from gateway.deferred_store import CommandStore
from gateway.http import HttpAnswer, HttpRequest, access_of, header, json_answer, json_body, query
from gateway.pages import whole_number
from gateway.routes import Handle, Route
from runtime.clock import now
from runtime.journal import journal_state
from runtime.settings import Settings

DEFAULT_FAILURES = 100
MAX_FAILURES = 1000

_CHECK_SECONDS = 0.5
"""How long a request waits for the matcher to say what its instrument is, before it is stored without that."""
_AT_ONCE = range(400, 404)
_AT_ONCE_TOO = (413, 415, 422)
_KEY = "Idempotency-Key"

RoutesOn = Callable[[MatcherClient, Instruments], Sequence[Route]]
"""The command routes, on an exchange with these."""


class CommandView(msgspec.Struct, frozen=True, kw_only=True):
    """A deferred command. `result` is what an immediate request would have been answered, `problem` why it failed."""

    command_id: str
    status: str
    created_at: str
    completed_at: str | None = None
    request: msgspec.Raw
    http_status: int | None = None
    result: msgspec.Raw | None = None
    problem: msgspec.Raw | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The answer 202."""

    command_id: str
    status: str
    created_at: str


class Deferral:
    """Stores commands, carries them out as long as `run` runs, and tells what became of them."""

    def __init__(
        self,
        connection: Client,
        settings: Settings,
        position: Position,
        matcher: MatcherClient,
        instruments: Instruments,
        routes_on: RoutesOn,
    ) -> None:
        self._connection = connection
        self._max_body_bytes = settings.max_body_bytes
        self._position = position
        self._store = CommandStore(connection, settings)
        self._check = _handles(routes_on(CheckingMatcher(), instruments))
        once = OnceInstruments(connection, settings.command_timeout_seconds)
        carry_out = _handles(routes_on(OnceMatcher(matcher), once))
        self._dispatcher = Dispatcher(connection, self._store, carry_out, settings.deferred_patience_seconds)

    async def run(self) -> None:
        await self._dispatcher.run()

    def routes(self, routes: Sequence[Route]) -> list[Route]:
        """The routes with those that can be deferred made so, and the ones to ask for results."""
        return [
            *(self._deferrable(route) if (route.method, route.path) in DEFERRABLE else route for route in routes),
            Route("GET", "/commands", self._failures, Scope.READ),
            Route("GET", "/commands/{command_id:str}", self._command, Scope.READ),
        ]

    def _deferrable(self, route: Route) -> Route:
        async def handle(request: HttpRequest) -> HttpAnswer:
            if header(request.scope, b"prefer") is not None and _prefers_async(request):
                return await self._defer(request, route)
            return await route.handle(request)

        return replace(route, handle=handle)

    async def _defer(self, request: HttpRequest, route: Route) -> HttpAnswer:
        command, is_keyed = await self._described(request, route)
        if is_keyed and (answer := await self._answer_before(command)):
            return answer
        await self._check_shape(command)
        if await self._store.put(command):
            return _accepted(command, PENDING)
        return await self._answer_before(command) or _accepted(command, PENDING)

    async def _described(self, request: HttpRequest, route: Route) -> tuple[DeferredCommand, bool]:
        """The request as a command, and whether its id is one that the same request would get again."""
        access, name = access_of(request), (route.method, route.path)
        fields: Fields | None = None
        if route.method != "DELETE":
            fields = read_fields(await json_body(request, self._max_body_bytes), _ANY_NAME)
            charge(request, len(items) if isinstance(items := fields.get("items"), list) else 1)
        key = _idempotency_key(request, None if fields is None else client_key(name, fields))
        command_id = secrets.token_hex(16) if key is None else derived_id(owner_of(access), _account(fields), key)
        command = DeferredCommand(
            command_id=command_id,
            created_at=now(),
            method=route.method,
            route=route.path,
            path_params=dict(request.path_params),
            query=request.scope["query_string"].decode("latin-1"),
            body="" if fields is None else write_fields(with_client_order_ids(name, fields, command_id, key)),
            fingerprint="",
            access=access,
            journal_sequence=await self._journal_sequence(),
        )
        asked_for = fingerprint(command.method, command.target, command.body)
        return msgspec.structs.replace(command, fingerprint=asked_for), key is not None

    async def _journal_sequence(self) -> int:
        """A sequence that the journal has reached."""
        known = max(self._position.told, self._position.reached)
        if known:
            return known
        try:
            return (await journal_state(self._connection)).last_seq
        except NotFoundError:
            return 0
        except (NatsError, TimeoutError):
            raise declined("commands_unavailable", "The broker cannot be asked now. Nothing was stored.") from None

    async def _check_shape(self, command: DeferredCommand) -> None:
        """Raises Declined for what no matcher is needed to refuse: less, when the instrument cannot be found."""
        checking = asyncio.create_task(handled(command, self._check))
        done, _ = await asyncio.wait([checking], timeout=_CHECK_SECONDS)
        if not done:
            checking.add_done_callback(lambda task: task.cancelled() or task.exception())
            return
        try:
            checking.result()
        except WouldBeSent:
            return
        except Declined as error:
            if error.problem.http_status in _AT_ONCE or error.problem.http_status in _AT_ONCE_TOO:
                raise

    async def _answer_before(self, command: DeferredCommand) -> HttpAnswer | None:
        """The answer if this was stored before. Raises Declined when what was stored is something else."""
        found = await self._find(command.command_id)
        if found is None:
            return None
        before, result = found
        if before.fingerprint != command.fingerprint:
            raise declined(
                "idempotency_key_reused",
                f"Command {before.command_id} has been stored under the same key, and asks for something else. Use "
                "another key, or send exactly the same again.",
                _KEY,
            )
        return _accepted(before, PENDING if result is None else result.status, replayed=True)

    async def _command(self, request: HttpRequest) -> HttpAnswer:
        query(request)
        command_id, access = request.path_params["command_id"], access_of(request)
        found = await self._find(command_id) if is_name(command_id) else None
        if found is None or not may_see(access, found[0]):
            raise declined(
                "unknown_command",
                f"There is no command {quoted(command_id)}. What became of commands is kept for a while only.",
                "command_id",
            )
        command, result = found
        sequence = None if result is None else result.sequence
        headers = () if sequence is None else ((b"journal-sequence", b"%d" % sequence),)
        return json_answer(_view(command, result), headers=headers)

    async def _find(self, command_id: str) -> tuple[DeferredCommand, CommandResult | None] | None:
        """A command that is settled between two looks is found by the third."""
        result = await self._store.result(command_id)
        if result is None and (pending := await self._store.pending(command_id)):
            return pending, None
        result = result or await self._store.result(command_id)
        return None if result is None else (result.command, result)

    async def _failures(self, request: HttpRequest) -> HttpAnswer:
        filters = query(request, ("status", "limit"))
        if filters.get("status") != FAILED:
            raise declined("invalid_parameter", "status=failed is what can be listed here.", "status")
        limit = whole_number(filters.get("limit", str(DEFAULT_FAILURES)), "limit", 1, MAX_FAILURES)
        return json_answer({"items": await self._newest_failures(access_of(request), limit)})

    async def _newest_failures(self, access: Access, limit: int) -> list[CommandView]:
        items: list[CommandView] = []
        for command_id in await self._store.failures():
            result = await self._store.result(command_id)
            if result is not None and may_see(access, result.command):
                items.append(_view(result.command, result))
                if len(items) == limit:
                    break
        return items


class _AnyName(frozenset[str]):
    """All names are known here: the route's own check refuses those that are not."""

    def __contains__(self, name: object) -> bool:
        return True


_ANY_NAME = _AnyName()


def _handles(routes: Sequence[Route]) -> dict[tuple[str, str], Handle]:
    return {(route.method, route.path): route.handle for route in routes}


def _prefers_async(request: HttpRequest) -> bool:
    return prefers_async(value.decode("latin-1") for name, value in request.scope["headers"] if name == b"prefer")


def _idempotency_key(request: HttpRequest, client_order_id: str | None) -> str | None:
    """What the client calls this request by: the header, or for one order its client_order_id. Raises Declined."""
    key = header(request.scope, b"idempotency-key")
    if key is None:
        return client_order_id
    fields: Fields = {} if client_order_id is None else {"client_order_id": client_order_id}
    named: str = with_key(fields, key)["client_order_id"]
    return named


def _account(fields: Fields | None) -> str:
    """The account that a request names: each has idempotency keys of its own."""
    account = (fields or {}).get("account")
    return account if type(account) is str else ""


def _accepted(command: DeferredCommand, status: str, *, replayed: bool = False) -> HttpAnswer:
    headers = [
        (b"location", b"/commands/" + command.command_id.encode()),
        (b"preference-applied", RESPOND_ASYNC.encode()),
    ]
    if replayed:
        headers.append((b"idempotent-replayed", b"true"))
    return json_answer(Accepted(command.command_id, status, format_time(command.created_at)), 202, headers)


def _view(command: DeferredCommand, result: CommandResult | None) -> CommandView:
    request = {"method": command.method, "path": command.target, "body": msgspec.Raw(command.body.encode() or b"null")}
    pending = CommandView(
        command_id=command.command_id,
        status=PENDING,
        created_at=format_time(command.created_at),
        request=msgspec.Raw(msgspec.json.encode(request)),
    )
    if result is None:
        return pending
    return msgspec.structs.replace(
        pending,
        status=result.status,
        completed_at=format_time(result.completed_at),
        http_status=result.http_status,
        result=result.answer if result.status == COMPLETED else None,
        problem=result.answer if result.status == FAILED else None,
    )
