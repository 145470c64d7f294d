"""Carries stored commands out: each exactly once, those of one owner in the order in which they were stored.

Every command has its request carried out by the route that an immediate one has. An answer that says that the exchange
could not do it now is no answer: the command is tried again, later and later, and those behind it wait. An error of our
own is tried a few times and then is the result, so that no command stops the others for good.
"""

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from nats.aio.client import Client

from contracts.keys import PUBLIC
from entry.problems import Declined, Problem
from gateway.deferred_attempts import Attempt, attempting
from gateway.deferred_commands import (
    COMPLETED,
    FAILED,
    CommandResult,
    DeferredCommand,
    delay_seconds,
    nothing_was_done,
    problem_codes,
)
from gateway.deferred_pull import Delivery, Pull
from gateway.deferred_store import ACK_WAIT_SECONDS, CommandStore, Unreachable
from gateway.http import ACCESS, HttpAnswer, HttpRequest, problem_answer
from gateway.routes import Handle
from runtime.clock import now

log = logging.getLogger(__name__)

Handles = Mapping[tuple[str, str], Handle]

MAX_ERRORS = 5
"""Internal errors that one command may lead to."""
MAX_UNANSWERED = 30
"""Attempts of which it stays unknown what they did: minutes, for a command may be what makes the matcher fail."""
MAX_BEGUN = 10
"""Gateways that may end while they carry out one command."""
_KEEP_SECONDS = 0.75
_ORDER_SECONDS = 0.2
_ORDER_PATIENCE_SECONDS = 10.0 * ACK_WAIT_SECONDS
_JITTER = 0.2


class Dispatcher:
    def __init__(self, connection: Client, store: CommandStore, carry_out: Handles, patience_seconds: float) -> None:
        self._connection = connection
        self._store = store
        self._pull = Pull(connection, store)
        self._handles = carry_out
        self._patience = int(patience_seconds * 1_000_000)
        self._held: dict[int, Delivery] = {}
        self._lanes: dict[str, list[tuple[int, Delivery, DeferredCommand]]] = {}
        self._draining: dict[str, asyncio.Task[None]] = {}
        self._in_order = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Returns never."""
        tasks = [asyncio.ensure_future(each) for each in (self._take_forever(), self._keep_forever(), self._failed)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, *self._draining.values()):
                task.cancel()
            await self._give_back()

    async def _take_forever(self) -> None:
        ordering: asyncio.Task[None] | None = None
        async for delivery in self._pull:
            if delivery is not None:
                await self._take(delivery)
            else:
                self._in_order.clear()
                if ordering is not None:
                    ordering.cancel()
                ordering = asyncio.create_task(self._wait_for_order())
                ordering.add_done_callback(self._on_end)

    async def _wait_for_order(self) -> None:
        """Begin when no command is out that came before those here: what a dead gateway held comes again in a while.

        Not for ever: another one that lives on, and holds what it cannot carry out now, must not stop this one.
        """
        deadline = time.monotonic() + _ORDER_PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                if await self._store.unacked() <= len(self._held):
                    break
            except Unreachable as error:
                log.warning("commands wait for the broker (%s)", error or type(error).__name__)
            await asyncio.sleep(_ORDER_SECONDS)
        self._in_order.set()

    async def _take(self, delivery: Delivery) -> None:
        again = delivery.sequence in self._held
        self._held[delivery.sequence] = delivery
        if again:
            return  # the ack goes to the later one
        try:
            command = msgspec.json.decode(delivery.payload, type=DeferredCommand)
        except msgspec.MsgspecError as error:
            command = _unreadable(delivery, error)
        lane = self._lanes.setdefault(command.owner, [])
        heapq.heappush(lane, (delivery.sequence, delivery, command))
        if command.owner not in self._draining:
            task = asyncio.create_task(self._drain(command.owner))
            self._draining[command.owner] = task
            task.add_done_callback(self._on_end)

    async def _drain(self, owner: str) -> None:
        lane = self._lanes[owner]
        while lane:
            await self._in_order.wait()
            sequence, delivery, command = heapq.heappop(lane)
            await self._settle(delivery, command)
            await self._connection.publish(self._held.pop(sequence).reply, b"+ACK")
        del self._lanes[owner], self._draining[owner]

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and not self._failed.done():
            self._failed.set_exception(error)

    async def _settle(self, delivery: Delivery, command: DeferredCommand) -> None:
        """Return once the command's result is stored."""
        before = await self._store.patiently(lambda: self._store.result(command.command_id))
        if before is None:
            result = await self._carry_out(delivery, command)
            await self._store.patiently(lambda: self._store.finish(result))
        elif before.status == FAILED:  # the gateway that stored it may have died before it listed it
            await self._store.patiently(lambda: self._store.list_failure(command))

    async def _carry_out(self, delivery: Delivery, command: DeferredCommand) -> CommandResult:
        if (command.method, command.route) not in self._handles:
            return _result(command, _unknown_request())
        uncertain = delivery.deliveries > 1
        if uncertain:
            begun = await self._store.patiently(lambda: self._store.count_attempt(command.command_id))
            if begun > MAX_BEGUN:
                return _result(command, _given_up(command))
        attempt = Attempt(self._connection, command.journal_sequence, uncertain)
        errors = unanswered = tries = 0
        while True:
            if now() - command.created_at > self._patience and not attempt.uncertain:
                return _result(command, _expired())
            answer = await self._try(command, attempt)
            codes = ["internal_error"] if answer is None else list(problem_codes(answer.status, answer.body))
            errors += "internal_error" in codes
            unanswered += not nothing_was_done(codes)
            if not codes or errors == MAX_ERRORS or unanswered == MAX_UNANSWERED:
                return _result(command, answer or _broken())
            attempt.uncertain |= not nothing_was_done(codes) or (answer is not None and answer.status < 500)
            tries += 1
            await asyncio.sleep(delay_seconds(tries) * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _try(self, command: DeferredCommand, attempt: Attempt) -> HttpAnswer | None:
        """The route's answer; None when it failed."""
        try:
            with attempting(attempt):
                return await handled(command, self._handles)
        except Declined as error:
            return problem_answer(error.problem)
        except Unreachable as error:
            why, ids = error or type(error).__name__, {"command_id": command.command_id}
            log.warning("command %s waits (%s)", command.command_id, why, extra=ids)
            attempt.uncertain = True
            return problem_answer(Problem(code="matcher_unavailable", detail="The broker cannot be asked."))
        except Exception:
            log.exception("command %s failed", command.command_id)
            attempt.uncertain = True
            return None

    async def _keep_forever(self) -> None:
        """Tell the server that what is held here is being worked on."""
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            if self._connection.is_connected:
                for delivery in list(self._held.values()):
                    await self._connection.publish(delivery.reply, b"+WPI")

    async def _give_back(self) -> None:
        """Another gateway may have at once what this one did not finish."""
        if self._connection.is_connected:
            await self._pull.step_back()
            for sequence in sorted(self._held):
                await self._connection.publish(self._held[sequence].reply, b"-NAK")


async def handled(command: DeferredCommand, handles: Handles) -> HttpAnswer:
    """What the handle of the command's route answers. Raises whatever it raises, Declined above all."""
    return await handles[command.method, command.route](_request(command))


def _request(command: DeferredCommand) -> HttpRequest:
    """The request as if it had just come in, from whoever sent it then."""
    body = command.body.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))] if body else []
    scope = {
        "type": "http",
        "method": command.method,
        "path": command.target.partition("?")[0],
        "query_string": command.query.encode("latin-1"),
        "headers": headers,
        "state": {},
        ACCESS: command.access,
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return HttpRequest(scope, receive, command.path_params)


class _Sequenced(msgspec.Struct):
    sequence: int | None = None


def _result(command: DeferredCommand, answer: HttpAnswer) -> CommandResult:
    return CommandResult(
        command=command,
        status=COMPLETED if answer.status < 400 else FAILED,
        completed_at=now(),
        http_status=answer.status,
        answer=msgspec.Raw(answer.body),
        sequence=msgspec.json.decode(answer.body, type=_Sequenced).sequence,
    )


def _unreadable(delivery: Delivery, error: msgspec.MsgspecError) -> DeferredCommand:
    """A message that no version of this program wrote, as a command that is bound to fail."""
    ids = {"command_id": delivery.command_id}
    log.error("command %s cannot be read: %s", delivery.command_id, error, extra=ids)
    return DeferredCommand(
        command_id=delivery.command_id,
        created_at=now(),
        method="",
        route="",
        path_params={},
        query="",
        body="",
        fingerprint="",
        access=PUBLIC,
        journal_sequence=0,
    )


def _broken() -> HttpAnswer:
    return _problem(
        "internal_error",
        "The gateway made a mistake each time it carried this out, and has logged it. Whether it had an effect, GET "
        "/orders tells.",
    )


def _given_up(command: DeferredCommand) -> HttpAnswer:
    ids = {"command_id": command.command_id}
    log.error("command %s is given up: gateways keep ending while they carry it out", command.command_id, extra=ids)
    return _problem(
        "internal_error",
        f"Carrying this out was begun {MAX_BEGUN} times, and the gateway ended each time. Whether it had an effect, "
        "GET /orders tells.",
    )


def _unknown_request() -> HttpAnswer:
    return _problem("internal_error", "This gateway cannot read the stored request. It was not carried out.")


def _expired() -> HttpAnswer:
    return _problem(
        "command_expired", "It could not be carried out in the time that commands may wait. It was not and will not be."
    )


def _problem(code: str, detail: str) -> HttpAnswer:
    return problem_answer(Problem(code=code, detail=detail))
