"""The REST interface's commands over NATS, JSON both ways: for people with `nats request`, and small programs.

Who may send what is the broker's to say: a request for one account names it in its subject, and acts for that only.
"""

import logging
from collections.abc import Awaitable, Callable
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
from entry.commands import valid_account
from entry.exchange import Done, Exchange
from entry.problems import Declined, Problem, declined, quoted
from runtime.connection import respond, respond_by_subject
from runtime.micro import Failure

log = logging.getLogger(__name__)

QUEUE = "gateway"
_encode = msgspec.json.Encoder().encode

CarryOut = Callable[[bytes, Access], Awaitable[Done[Any]]]


async def answer_people(connection: Client, exchange: Exchange) -> None:
    """One of all gateways answers each request: with the result, or with the problem."""
    requests: dict[str, CarryOut] = {
        ORDERS_PLACE: exchange.place,
        ORDERS_CANCEL: exchange.cancel_named,
        ORDERS_AMEND: exchange.amend_named,
        ORDERS_CANCEL_ALL: exchange.cancel_all_named,
        ORDERS_BATCH: exchange.batch,
    }
    for subject, carry_out in requests.items():
        await respond(connection, subject, _for_everybody(carry_out), queue=QUEUE)
    by_name = {subject.rpartition(".")[2]: carry_out for subject, carry_out in requests.items()}
    await respond_by_subject(connection, ACCOUNT_ORDERS, _for_one_account(by_name), queue=QUEUE)


def _for_everybody(carry_out: CarryOut) -> Callable[[bytes], Awaitable[bytes | Failure]]:
    async def answer(body: bytes) -> bytes | Failure:
        return await _answer(carry_out, body, OPEN)

    return answer


def _for_one_account(requests: dict[str, CarryOut]) -> Callable[[str, bytes], Awaitable[bytes | Failure]]:
    """accounts.<account>.orders.<request>"""

    async def answer(subject: str, body: bytes) -> bytes | Failure:
        _, account, _, request = subject.split(".")

        async def carry_out(body: bytes, access: Access) -> Done[Any]:
            if request not in requests:
                raise declined("not_found", f"There is no request {quoted(request)}; there are {', '.join(requests)}.")
            valid_account(account)
            return await requests[request](body, access)

        return await _answer(carry_out, body, Access(frozenset({Scope.READ, Scope.TRADE}), (account,)))

    return answer


async def _answer(carry_out: CarryOut, body: bytes, access: Access) -> bytes | Failure:
    try:
        return _encode((await carry_out(body, access)).view)
    except Declined as error:
        return _failure(error.problem)
    except Exception:
        log.exception("a request over NATS failed")
        return _failure(Problem(code="internal_error", detail="The gateway made a mistake and has logged it."))


def _failure(problem: Problem) -> Failure:
    return Failure(problem.http_status, problem.code, problem.content)
