"""A request to be carried out later, as a value: its id, what is stored of it, and what its answers mean. Pure."""

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from contracts.keys import Access
from entry.bodies import Fields, Number

COMPLETED = "completed"
FAILED = "failed"
PENDING = "pending"

RESPOND_ASYNC = "respond-async"
PLACE = ("POST", "/orders")
BATCH = ("POST", "/orders/batch")
REPLACE = ("POST", "/orders/{order_id:str}/replace")
DEFERRABLE = frozenset(
    {
        PLACE,
        BATCH,
        REPLACE,
        ("PUT", "/orders/{order_id:str}"),
        ("DELETE", "/orders/{order_id:str}"),
        ("PUT", "/orders/by-client-id/{client_order_id:str}"),
        ("DELETE", "/orders/by-client-id/{client_order_id:str}"),
        ("DELETE", "/orders"),
    }
)

_MIN_DELAY_SECONDS = 0.1
_MAX_DELAY_SECONDS = 5.0
_NOT_DONE = ("matcher_unavailable", "overloaded")
"""Problems that say for certain that nothing was done."""


class DeferredCommand(Struct, frozen=True, kw_only=True):
    """A request as stored in the stream COMMANDS. With its access, for it acts for whoever sent it."""

    command_id: str
    created_at: int
    """Microseconds since 1970."""
    method: str
    route: str
    """The address's pattern, as in DEFERRABLE."""
    path_params: dict[str, str]
    query: str
    body: str
    fingerprint: str
    """Hash of all that was asked for: the same key for something else is a mistake."""
    access: Access
    journal_sequence: int
    """The journal had this when the command was stored, so what it leads to comes after."""

    @property
    def owner(self) -> str:
        return owner_of(self.access)

    @property
    def target(self) -> str:
        """The address as the client sent it."""
        path = self.route
        for name, value in self.path_params.items():
            path = path.replace(f"{{{name}:str}}", quote(value, safe=""))
        return f"{path}?{self.query}" if self.query else path


class CommandResult(Struct, frozen=True, kw_only=True):
    """What became of a command, as kept in the bucket COMMAND_RESULTS."""

    command: DeferredCommand
    status: str
    completed_at: int
    http_status: int
    answer: Raw
    """What an immediate request would have been answered: the JSON of the result, or the problem."""
    sequence: int | None = None
    """The journal sequence in that answer."""


def owner_of(access: Access) -> str:
    """Whose commands keep their order among each other, and share one space of idempotency keys."""
    accounts = access.visible_accounts
    return "*" if accounts is None else ",".join(sorted(accounts))


def may_see(access: Access, command: DeferredCommand) -> bool:
    """Whether a command of `command.access` is any business of this access: all its accounts must be."""
    accounts = command.access.visible_accounts
    if not accounts:
        return bool(access.scopes) and access.visible_accounts is None
    return all(access.may_read(account) for account in accounts)


def prefers_async(headers: Iterable[str]) -> bool:
    """Whether Prefer headers (RFC 7240) ask for an answer before the work is done.

    >>> prefers_async(['return=minimal; x=",", Respond-Async;wait=5'])
    True
    """
    return any(
        preference.partition(";")[0].strip().lower() == RESPOND_ASYNC
        for value in headers
        for preference in _unquoted_split(value)
    )


def _unquoted_split(value: str) -> list[str]:
    outside = value.split('"')[::2]  # what is in quotation marks is a parameter's business
    return "".join(outside).split(",")


def derived_id(owner: str, account: str, key: str) -> str:
    """The command id that an idempotency key stands for."""
    return sha256("\0".join((owner, account, key)).encode()).hexdigest()[:32]


def fingerprint(method: str, target: str, body: str) -> str:
    return sha256("\0".join((method, target, body)).encode()).hexdigest()


def client_key(route: tuple[str, str], fields: Fields) -> str | None:
    """The client_order_id of a request that places one order: it names the command as well."""
    key = fields.get("client_order_id") if route in (PLACE, REPLACE) else None
    return key if type(key) is str else None


def with_client_order_ids(route: tuple[str, str], fields: Fields, command_id: str, key: str | None) -> Fields:
    """The same request with a client_order_id for every order that it places, so that none can be placed twice."""
    if route in (PLACE, REPLACE):
        return {**fields, "client_order_id": fields.get("client_order_id", key or command_id)}
    items = fields.get("items")
    if route != BATCH or type(items) is not list:
        return fields
    return {**fields, "items": [_named(item, f"{command_id}-{number}") for number, item in enumerate(items)]}


def _named(item: Any, name: str) -> Any:
    place = item.get("place") if type(item) is dict else None
    if type(place) is not dict or place.get("client_order_id") is not None:
        return item
    return {**item, "place": {**place, "client_order_id": name}}


def write_fields(value: Any) -> str:
    """JSON of what entry.bodies read, names sorted, every number still as the client wrote it."""
    if isinstance(value, Number):
        return str.__str__(value)
    if type(value) is dict:
        return "{" + ",".join(f"{json.dumps(name)}:{write_fields(value[name])}" for name in sorted(value)) + "}"
    if type(value) is list:
        return "[" + ",".join(map(write_fields, value)) + "]"
    return json.dumps(value)


class _Coded(Struct):
    status: int = 0
    code: str = ""


class _Item(Struct):
    status: int = 0
    problem: _Coded | None = None


class _Answer(Struct):
    """As much of any answer as tells whether the work is done."""

    status: int | str = 0
    code: str = ""
    items: list[_Item] = []


_answer = msgspec.json.Decoder(_Answer)


def problem_codes(http_status: int, body: bytes) -> Iterator[str]:
    """The codes of the problems in an answer that another attempt may not meet: those of the exchange, not the client.

    A batch answers 200 and has them in its items.
    """
    answer = _answer.decode(body)
    if http_status >= 500:
        yield answer.code
    for item in answer.items:
        if item.status >= 500:
            yield "" if item.problem is None else item.problem.code


def nothing_was_done(codes: Iterable[str]) -> bool:
    return all(code in _NOT_DONE for code in codes)


def delay_seconds(attempt: int) -> float:
    """How long to wait after the attempt-th try, from 1.

    >>> [delay_seconds(attempt) for attempt in (1, 2, 3, 20)]
    [0.1, 0.2, 0.4, 5.0]
    """
    return min(_MAX_DELAY_SECONDS, _MIN_DELAY_SECONDS * 2.0 ** min(attempt - 1, 10))
