"""The REST interface's commands over NATS, JSON both ways: for people with `nats request`, and small programs.

Who may send what is the broker's to say: a request for one account names it in its subject, and acts for that only.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import msgspec
from nats.aio.client import Client

from contracts.keys import OPEN, Access, Scope
from contracts.subjects import (
    ACCOUNT_ORDERS,
    ORDERS_AMEND,
    ORDERS_BATCH,
    ORDERS_CANCEL,
    ORDERS_CANCEL_ALL,
    ORDERS_PLACE,
)
from entry.admission import Admission, Kind, overloaded, weight_of
from entry.commands import valid_account
from entry.exchange import Done, Exchange
from entry.problems import Declined, Problem, declined, quoted
from runtime.connection import respond_by_subject
from runtime.micro import Failure

log = logging.getLogger(__name__)

QUEUE = "gateway"
_encode = msgspec.json.Encoder().encode

CarryOut = Callable[[bytes, Access], Awaitable[Done[Any]]]


async def answer_people(connection: Client, exchange: Exchange, admission: Admission) -> None:
    """One of all gateways answers each request: with the result, or with the problem."""
    requests: dict[str, CarryOut] = {
        ORDERS_PLACE: exchange.place,
        ORDERS_CANCEL: exchange.cancel_named,
        ORDERS_AMEND: exchange.amend_named,
        ORDERS_CANCEL_ALL: exchange.cancel_all_named,
        ORDERS_BATCH: exchange.batch,
    }
    desk = _Desk({_last_word(subject): carry_out for subject, carry_out in requests.items()}, admission)
    for subject in requests:
        await respond_by_subject(connection, subject, desk.for_everybody, queue=QUEUE, let_in=desk.let_in)
    await respond_by_subject(connection, ACCOUNT_ORDERS, desk.for_one_account, queue=QUEUE, let_in=desk.let_in)


class _Desk:
    """Carries out what it lets in: as long as there is room, which is the same room as that of REST."""

    def __init__(self, requests: dict[str, CarryOut], admission: Admission) -> None:
        self._requests = requests
        self._admission = admission

    def let_in(self, subject: str, body: bytes) -> Failure | None:
        if self._admission.enter(_kind(subject), weight_of(len(body))):
            return None
        return _refusal(self._admission.retry_after(time.monotonic()))

    async def for_everybody(self, subject: str, body: bytes) -> bytes | Failure:
        return await self._answer(subject, self._requests[_last_word(subject)], body, OPEN)

    async def for_one_account(self, subject: str, body: bytes) -> bytes | Failure:
        """accounts.<account>.orders.<request>"""
        _, account, _, request = subject.split(".")

        async def carry_out(body: bytes, access: Access) -> Done[Any]:
            if request not in self._requests:
                known = ", ".join(self._requests)
                raise declined("not_found", f"There is no request {quoted(request)}; there are {known}.")
            valid_account(account)
            return await self._requests[request](body, access)

        return await self._answer(subject, carry_out, body, Access(frozenset({Scope.READ, Scope.TRADE}), (account,)))

    async def _answer(self, subject: str, carry_out: CarryOut, body: bytes, access: Access) -> bytes | Failure:
        try:
            return await _answer(carry_out, body, access)
        finally:
            self._admission.leave(_kind(subject), weight_of(len(body)))


def _kind(subject: str) -> Kind:
    return Kind.CANCEL if _last_word(subject) in _CANCELING else Kind.ORDER


def _last_word(subject: str) -> str:
    return subject.rpartition(".")[2]


_CANCELING = frozenset((_last_word(ORDERS_CANCEL), _last_word(ORDERS_CANCEL_ALL)))


async def _answer(carry_out: CarryOut, body: bytes, access: Access) -> bytes | Failure:
    try:
        return _encode((await carry_out(body, access)).view)
    except Declined as error:
        return _failure(error.problem)
    except Exception:
        log.exception("a request over NATS failed")
        return _failure(Problem(code="internal_error", detail="The gateway made a mistake and has logged it."))


@cache
def _refusal(seconds: int) -> Failure:
    return _failure(overloaded(seconds).problem)


def _failure(problem: Problem) -> Failure:
    return Failure(problem.http_status, problem.code, problem.content)
