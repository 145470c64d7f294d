"""The matcher as a process: requests from NATS into the sequencer, its commits onto the journal, answers back."""

import asyncio
import gc
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from contracts.messages import DefineInstrument, RequestRefusal, RequestRefused
from contracts.subjects import (
    MATCHER_HANDOVER,
    MATCHER_INSTRUMENTS,
    MATCHER_ORDER,
    MATCHER_STATE_HASH,
    MATCHER_STATUS,
    MATCHER_TAKEN_OVER,
    ORDERS_SUBMIT,
)
from matcher.apart import begin_hash, hash_begun
from matcher.broker import MonitorUnreachable, check_broker, watch_brokers
from matcher.engine import Engine
from matcher.journal_writer import Fenced, JournalCut, confirm_end, write_commit
from matcher.lease import ANYONE, Lease
from matcher.measures import CommitObserver, of_follower, of_leader
from matcher.recovery import take_over
from matcher.replay import Replay
from matcher.sequencer import Sealed, Sequencer
from matcher.snapshots import keep_taking, settings_folder, snapshot_files
from matcher.standby import Standby, named, standbys, successor
from matcher.trimming import trim_forever
from runtime.clock import now, steady
from runtime.connection import close, connect, respond, stop_responding, watch
from runtime.metrics import Measure, Source
from runtime.metrics_server import Exposition, exposing
from runtime.micro import Failure, failure
from runtime.nats_client import NatsClient
from runtime.service import Refused, first_of
from runtime.settings import Settings
from runtime.snapshot_files import SnapshotFiles
from runtime.tls import nats_tls
from runtime.tracing import Tracing, tracing

log = logging.getLogger(__name__)

_STOP_SECONDS = 2.0
_RECHECK_SECONDS = 0.5
_SUCCESSION_SECONDS = 0.02
_ANSWER_SECONDS = 0.2
_CONFIRM_SECONDS = 0.5
_CLOCK_SECONDS = 0.05
"""How late an expiry may be noticed. No order trades after it: a commit at that time expires it first."""
_STALLED_SECONDS = 2.0
_STALLED = msgspec.msgpack.encode(
    RequestRefused(RequestRefusal.OVERLOADED, "the journal takes no writes now, and what was sent before waits for it")
)
_json = msgspec.json.Encoder()


class OrderQuestion(msgspec.Struct, frozen=True):
    """Which order: by its id, or by its account's id for it."""

    order_id: int | None = None
    account: str | None = None
    client_order_id: str | None = None


_order_decoder = msgspec.json.Decoder(OrderQuestion)


async def main(settings: Settings, stop: asyncio.Event) -> None:
    async with exposing(settings, "matcher") as shown, tracing(settings, "matcher") as traces:
        await _run(settings, stop, _Watched(shown, traces))


async def _run(settings: Settings, stop: asyncio.Event, watched: "_Watched") -> None:
    connecting = asyncio.create_task(connect(settings.nats_url, "matcher", tls=nats_tls(settings)))
    await first_of(connecting, stop.wait())
    if stop.is_set():
        return
    connection = connecting.result()
    watched.shown.add_connection(connection)
    try:
        await check_broker(connection, settings)
        await first_of(_serve(connection, settings, stop, watched), watch(connection))
    finally:
        await close(connection)


class _Watched:
    """What is shown of this process: first as one that follows, then as one that leads."""

    def __init__(self, shown: Exposition, traces: Tracing | None) -> None:
        self.shown = shown
        self.observer = CommitObserver(traces) if shown.is_on or traces else None
        self._source: Source = lambda: of_follower(0, 0, ready=False)
        shown.add(self._measures)

    def as_follower(self, standby: Standby) -> None:
        self._source = standby.measures

    def as_leader(self, matcher: "Matcher") -> None:
        self._source = matcher.measures
        matcher.observer = self.observer

    def _measures(self) -> Iterable[Measure]:
        return self._source()


async def _serve(connection: NatsClient, settings: Settings, stop: asyncio.Event, watched: _Watched) -> None:
    """Stand by until nobody else leads; then lead, until `stop` or until another goes on in our place."""
    lease = Lease(connection, settings)
    standby = Standby(connection, settings, lease)
    watched.as_follower(standby)
    await first_of(standby.until_its_turn(), stop.wait())
    if lease.is_held:
        await first_of(lease.hold(), _lead(connection, settings, standby.replay, lease, stop, watched))


async def _lead(
    connection: NatsClient, settings: Settings, replay: Replay, lease: Lease, stop: asyncio.Event, watched: _Watched
) -> None:
    await first_of(take_over(connection, settings, replay, patient=False), stop.wait())
    if stop.is_set():
        await lease.hand_to(ANYONE)
        return
    gc.freeze()  # what was replayed stays: the collector need not look at it again
    sequencer = Sequencer(replay.engine, replay.chain, settings.backlog_commands)
    files = snapshot_files(settings_folder(settings))
    matcher = Matcher(connection, sequencer, lease, files)
    watched.as_leader(matcher)
    matcher.list_default_instrument(settings)
    await matcher.announce()
    sequence, epoch = replay.chain.sequence, replay.chain.matcher_epoch
    log.info("serving from journal sequence %d as epoch %d", sequence, epoch, extra={"journal_sequence": sequence})
    await first_of(
        matcher.serve(stop),
        _recheck_on_reconnect(matcher, settings),
        _until_patience_ends(stop),
        matcher.advance_forever(),
        watch_brokers(connection, settings),
        keep_taking(files, settings, lambda: replay.chain.sequence, matcher.at_rest, matcher.has_standby),
        trim_forever(connection, settings, lambda: min(files.sequences(), default=None), matcher.confirm),
    )


async def _until_patience_ends(stop: asyncio.Event) -> None:
    """Without a broker a stop cannot finish what is there. The next start finds out how much of it is durable."""
    await stop.wait()
    await asyncio.sleep(_STOP_SECONDS)
    log.warning("stopping before everything is answered: the broker does not answer")


async def _recheck_on_reconnect(matcher: "Matcher", settings: Settings) -> None:
    """While we were away nats-server may have been given another configuration, and the journal another writer."""
    connection = matcher.connection
    checked = connection.stats["reconnects"]
    while True:
        await asyncio.sleep(_RECHECK_SECONDS)
        reconnects = connection.stats["reconnects"]
        if not connection.is_connected or reconnects == checked:
            continue
        try:
            await check_broker(connection, settings)
        except MonitorUnreachable:
            continue  # it is going down again
        await matcher.confirm()
        checked = reconnects


@dataclass
class Matcher:
    """The loop around the sequencer. Nothing leaves it before it is durable."""

    connection: NatsClient
    sequencer: Sequencer
    lease: Lease
    snapshots: SnapshotFiles
    observer: CommitObserver | None = None
    turned_away: int = 0
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when no more is to be taken, and what is there to be finished."""
    _successor: str | None = None
    """Who is to go on then, if somebody was asked to."""
    _parted: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Whether it went on."""
    _requests: Subscription | None = None
    _confirmed_after_reconnects: int = 0
    _in_doubt: bool = False
    _is_outdated: bool = False
    _announcements: Subscription | None = None
    _writing_ticks: int | None = None
    """How long the commit that is on its way has taken, counted while awake: who slept knows nothing of the journal."""

    async def announce(self) -> None:
        """Tell an older matcher, which may have slept through it, that its time is over; then take requests."""
        self._announcements = await self.connection.subscribe(MATCHER_TAKEN_OVER, cb=self._on_taken_over)
        await self.connection.publish(MATCHER_TAKEN_OVER, self._announcement)
        await self.connection.flush()
        await self._take_requests()
        await respond(self.connection, MATCHER_HANDOVER, self._handover)
        await self.lease.renew(matcher_epoch=self.sequencer.chain.matcher_epoch, serving=True)

    async def _take_requests(self) -> None:
        self._requests = await self.connection.listen(ORDERS_SUBMIT, self._on_request)
        for subject, answer in self._answers.items():
            await respond(self.connection, subject, answer)
        await self.connection.flush()

    @property
    def _answers(self) -> dict[str, Callable[[bytes], Awaitable[bytes | Failure]]]:
        return {
            MATCHER_STATUS: self._status,
            MATCHER_STATE_HASH: self._state_hash,
            MATCHER_INSTRUMENTS: self._instruments,
            MATCHER_ORDER: self._order,
        }

    def list_default_instrument(self, settings: Settings) -> None:
        """On a new journal, so that the first order needs no preparation."""
        if not self.sequencer.engine.instruments:
            command = DefineInstrument(
                settings.default_instrument, settings.default_tick_size, settings.default_lot_size
            )
            self.sequencer.submit("", msgspec.msgpack.encode((command,)), now())
            self._work.set()

    async def serve(self, stop: asyncio.Event) -> None:
        """Returns when all is answered: at `stop`, or once another matcher has taken over from this one."""
        asking = [asyncio.create_task(self._leave_after(event)) for event in (stop, self.lease.lost)]
        try:
            while True:
                await self._commit_until_left(stop)
                if self._successor is not None or stop.is_set():
                    await self.lease.hand_to(ANYONE if self._successor is None else self._successor)
                if stop.is_set():
                    return
                if await self._is_succeeded():
                    await self._say_goodbye()
                    return
                await self._go_on()
        finally:
            for task in asking:
                task.cancel()

    async def _leave_after(self, event: asyncio.Event) -> None:
        while True:
            await event.wait()
            self._leaving.set()
            await asyncio.sleep(_CLOCK_SECONDS)

    async def _commit_until_left(self, stop: asyncio.Event) -> None:
        """Seal, write, release; one commit in flight. Once `_leaving` is set: take no more, finish what is there."""
        withdrawing = asyncio.create_task(self._withdraw())
        try:
            while True:
                sealed = self.sequencer.seal(now())
                if sealed is not None:
                    await self._commit(sealed)
                elif withdrawing.done():
                    break
                else:
                    await self._work.wait()
                    self._work.clear()
        finally:
            withdrawing.cancel()
        if not stop.is_set():
            withdrawing.result()  # half withdrawn one cannot go on

    async def _withdraw(self) -> None:
        """Once leaving: returns when nothing comes any more and every question is answered."""
        await self._leaving.wait()
        try:
            if self.lease.is_held:
                await self.lease.renew(serving=False)  # or those who stand by would take our silence for our end
            await stop_responding(self.connection, *self._answers)  # which may take longer than the rest
            requests: Any = self._requests  # nats-py leaves drain untyped
            await requests.drain()
        finally:
            asyncio.get_running_loop().call_soon(self._work.set)

    async def _is_succeeded(self) -> bool:
        """Wait for another matcher's barrier. False when nobody wrote one in time and the lease is ours again."""
        while True:
            try:
                await confirm_end(self.connection, self.sequencer.chain.sequence)
            except Fenced:
                log.info("another matcher goes on from journal sequence %d", self.sequencer.chain.sequence)
                return True
            if await self.lease.look() and self.lease.is_over and await self.lease.take():
                return False
            await asyncio.sleep(_SUCCESSION_SECONDS)

    async def _say_goodbye(self) -> None:
        """To whoever asked for it."""
        self._parted.set_result(True)
        await stop_responding(self.connection, MATCHER_HANDOVER)

    async def _go_on(self) -> None:
        log.warning("nobody took over: serving again")
        self._parted.set_result(False)
        self._parted, self._successor = asyncio.get_running_loop().create_future(), None
        self._leaving.clear()
        self._in_doubt = True
        await self._take_requests()
        await self.lease.renew(serving=True)

    async def advance_forever(self) -> None:
        """Wake the sequencer when something is due: expiries, dead-man's switches, what a crash left unfinished."""
        while True:
            if self._writing_ticks is not None:
                self._writing_ticks += 1
            due = self.sequencer.next_due
            if self._leaving.is_set():
                pass  # whoever goes on sees to it
            elif self.sequencer.engine.unfinished or (due is not None and due <= now()):
                self._advance()
            await asyncio.sleep(_CLOCK_SECONDS)

    def _advance(self) -> None:
        try:
            self.sequencer.advance(now())
        except Exception:
            log.exception("stopping at once: what is due could not be carried out")
            os._exit(1)
        self._work.set()

    async def _commit(self, sealed: Sealed) -> None:
        try:
            if sealed.payload is not None:
                self._writing_ticks = 0
                if self.observer is not None:
                    self.observer.begin_write(sealed)
                await write_commit(self.connection, sealed.sequence, sealed.payload)
                self._writing_ticks = None
                if self.observer is not None:
                    self.observer.end_write(self.sequencer.chain.time)
                if log.isEnabledFor(logging.DEBUG):
                    _log_commit(sealed, sealed.payload)
            else:
                await self._confirm_end(sealed.sequence)
        except Fenced as error:
            self._is_outdated = True
            raise Refused(f"{error}, and only one may serve. Nothing was answered since") from error
        except JournalCut as error:
            raise Refused(f"the journal was cut while serving: {error}") from error
        self._answer(sealed.answers)
        for waiter, finding in sealed.findings:
            assert isinstance(waiter, asyncio.Future)
            if not waiter.done():  # whoever asked may have given up
                waiter.set_result((sealed.sequence, finding))

    async def _confirm_end(self, sequence: int) -> None:
        """Refusals and reads need no commit, so no fence stops one that an outdated matcher gives; this does."""
        if not self._is_certain:
            reconnects = self.connection.stats["reconnects"]
            self._in_doubt = False
            await confirm_end(self.connection, sequence)
            self._confirmed_after_reconnects = reconnects

    @property
    def _is_certain(self) -> bool:
        """Whether this is the sole matcher without asking. Another has told us, or has waited until our lease was over;
        or it found nobody connected: then we have connected again since."""
        return self.lease.is_certain and not self._may_be_outdated

    def _answer(self, answers: list[tuple[str, bytes]]) -> None:
        try:
            self.connection.post([answer for answer in answers if answer[0]])
        except NatsError as error:
            # The clients find out as after any lost answer; the commands themselves are durable.
            log.warning("%d answers could not be sent: %s", len(answers), error or type(error).__name__)
        if self.observer is not None:
            self.observer.on_answers(answers)

    @property
    def _is_stalled(self) -> bool:
        """Too few of its nodes are there, or its disk is full: what comes now is told so at once, and need not wait."""
        return self._writing_ticks is not None and self._writing_ticks * _CLOCK_SECONDS > _STALLED_SECONDS

    def _on_request(self, _: str, reply_to: str, content: bytes, headers: dict[str, str] | None) -> None:
        if self.observer is not None:
            self.observer.on_request(reply_to, headers)
        try:
            turned_away = _STALLED if self._is_stalled else self.sequencer.submit(reply_to, content, now())
        except Exception:
            # The engine may be half changed. The journal is not: end here, before anything of it can be written.
            log.exception("stopping at once: a command could not be carried out")
            os._exit(1)
        if turned_away is None:
            self._work.set()
            return
        self.turned_away += 1
        if self.observer is not None:
            self.observer.on_turned_away(reply_to)
        if not self._may_be_outdated or (turned_away is _STALLED and self._leads_for_all_it_knows):
            self._answer([(reply_to, turned_away)])

    @property
    def _may_be_outdated(self) -> bool:
        """Whether another matcher may have got the same request, so that "nothing was done" could be wrong.

        That one has said that it took over before it took requests, and word of it is here before the request is: read
        already, still waiting to be read, or lost with a connection.
        """
        return self._has_heard_of_another or not self._is_connected_since_confirmed or self._may_be_cut_off

    @property
    def _may_be_cut_off(self) -> bool:
        """In a cluster our node can have lost the others: what comes to us then may reach another matcher later."""
        return bool(self.connection._server_info.get("cluster")) and not self.lease.is_certain

    @property
    def _leads_for_all_it_knows(self) -> bool:
        """What can be said while nothing can be written, and so nothing be confirmed: the lease is ours to this moment.

        Whose own connection it is that lets nothing through has no lease by now, and must not say that nothing is done.
        """
        return self.lease.is_certain and not self._has_heard_of_another

    @property
    def _has_heard_of_another(self) -> bool:
        announced = self._announcements is not None and self._announcements.pending_msgs > 0
        return announced or self._in_doubt

    @property
    def _is_connected_since_confirmed(self) -> bool:
        return self.connection.is_connected and self.connection.stats["reconnects"] == self._confirmed_after_reconnects

    async def _on_taken_over(self, message: Msg) -> None:
        """Somebody says that we are no longer the matcher. The journal tells whether that is true."""
        if message.data != self._announcement:
            self._in_doubt = True
            await self.confirm()

    @property
    def _announcement(self) -> bytes:
        return json.dumps({"matcher_epoch": self.sequencer.chain.matcher_epoch}).encode()

    # What can be asked

    def measures(self) -> Iterator[Measure]:
        serving = not self._is_stalled and not self._leaving.is_set() and self.connection.is_connected
        yield from of_leader(self.sequencer, self.snapshots, self.turned_away, serving=serving)
        if self.observer is not None:
            yield from self.observer.measures()

    async def _status(self, _: bytes) -> bytes:
        serving = not self._is_stalled and (self._is_certain or await self._confirms_soon())
        chain = self.sequencer.chain
        return _json.encode(
            {
                "sequence": chain.sequence,
                "matcher_epoch": chain.matcher_epoch,
                "journal_epoch": chain.journal_epoch,
                "resting_orders": self.sequencer.engine.resting_orders,
                "backlog": self.sequencer.backlog,
                "snapshot": max(self.snapshots.sequences(), default=None),
                "serving": serving,
                "host": self.lease.me.host,
                "pid": self.lease.me.pid,
            }
        )

    async def _state_hash(self, _: bytes) -> bytes | Failure:
        sequence, begun = await self._inspect(begin_hash)
        digest = await hash_begun(begun)
        if not digest:
            return failure(503, "no_hash", detail="the process that was to compute it ended; ask again")
        return _json.encode({"sequence": sequence, "hash": digest.hex()})

    async def _instruments(self, _: bytes) -> bytes:
        sequence, instruments = await self._inspect(lambda engine: engine.instruments)
        return _json.encode({"sequence": sequence, "items": instruments})

    async def _order(self, question: bytes) -> bytes | Failure:
        try:
            asked = _order_decoder.decode(question)
        except msgspec.MsgspecError as error:
            return failure(400, "invalid_question", detail=str(error))
        sequence, found = await self._inspect(lambda engine: _find_order(engine, asked))
        assert isinstance(found, dict)
        return _json.encode({"sequence": sequence, **found})

    async def _handover(self, _: bytes) -> bytes | Failure:
        """Finish what is there and let a standby go on from exactly there. Answered once it does."""
        chosen = await successor(self.connection, lambda: self.sequencer.chain.sequence)
        if isinstance(chosen, Failure):
            return chosen
        if self._leaving.is_set():
            return failure(409, "already_leaving", detail="this matcher is stopping or handing over already")
        started, parted = steady(), self._parted
        self._successor = chosen.id
        self._leaving.set()
        if not await parted:
            return failure(504, "not_taken_over", detail=f"{named(chosen)} did not go on; this matcher serves again")
        return _json.encode(
            {
                "sequence": self.sequencer.chain.sequence,
                "to": {"id": chosen.id, "host": chosen.host, "pid": chosen.pid},
                "seconds": round(steady() - started, 4),
            }
        )

    # Snapshots

    async def at_rest(self, take: Callable[[Replay], None]) -> None:
        """Call `take` when the engine has what a commit leads to and no more; return when that commit is durable."""
        await self._inspect(lambda engine: take(Replay(engine, self.sequencer.chain)))

    async def has_standby(self) -> bool:
        return bool(await standbys(self.connection, _ANSWER_SECONDS))

    async def confirm(self) -> None:
        """Return once it is certain that this is still the sole matcher; otherwise commit_forever ends."""
        await self._inspect(lambda engine: None)

    async def _confirms_soon(self) -> bool:
        """Whether it can be made certain now. One that turns out to be outdated ends by it and says nothing more."""
        confirming = asyncio.create_task(self.confirm())
        await asyncio.wait([confirming], timeout=_CONFIRM_SECONDS)
        if self._is_outdated:
            await asyncio.Event().wait()
        return confirming.done() or not confirming.cancel()

    async def _inspect(self, question: Callable[[Engine], object]) -> tuple[int, object]:
        """What the engine says of its state after a commit, once that is durable; with the commit's sequence."""
        waiter: asyncio.Future[tuple[int, object]] = asyncio.get_running_loop().create_future()
        self.sequencer.inspect(waiter, question)
        self._work.set()
        return await waiter


def _log_commit(sealed: Sealed, payload: bytes) -> None:
    about = {"journal_sequence": sealed.sequence, "commands": sealed.commands, "bytes": len(payload)}
    log.debug("commit %d: %d commands", sealed.sequence, sealed.commands, extra=about)


def _find_order(engine: Engine, asked: OrderQuestion) -> dict[str, object]:
    order_id = asked.order_id
    if order_id is None and asked.account is not None and asked.client_order_id is not None:
        order_id = engine.order_id_of(asked.account, asked.client_order_id)
    return {"order_id": order_id, "symbol": None if order_id is None else engine.symbol_of(order_id)}
