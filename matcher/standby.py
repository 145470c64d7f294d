"""A matcher that does not serve: it follows the journal, proves every outcome on the way, and waits for its turn.

Its turn has come when the one that leads gives its lease away, does not renew it any more, or has gone: nobody answers
for it. Every matcher begins like this; one that finds nobody leading waits no longer than its own replay takes.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from contracts.subjects import MATCHER_LEASE_CHANGED, MATCHER_STANDBY, MATCHER_STATUS
from matcher.apart import begin_hash, hash_begun
from matcher.broker import check_stream
from matcher.lease import ANYONE, Holder, Lease
from matcher.measures import of_follower
from matcher.recovery import Recorded, ask_recorder, follow_forever, refusing_what_does_not_fit
from matcher.replay import Replay
from matcher.snapshots import keep_taking, newest_good, settings_folder, snapshot_files
from runtime.clock import steady
from runtime.connection import respond, stop_responding
from runtime.journal import journal_state
from runtime.metrics import Measure
from runtime.micro import Failure, failure
from runtime.service import first_of
from runtime.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_ANSWER_SECONDS = 0.5
_HASH_SECONDS = 5.0
_CHOOSING_SECONDS = 0.2
_CHOOSING_TRIES = 5
_CLOSE_COMMITS = 500
"""No further behind may one be that is to go on: what it has to catch up nobody is served."""
_GONE_AFTER = 2
"""How often in a row nobody must have answered for the one that leads."""
_json = msgspec.json.Encoder()


class StandbyQuestion(msgspec.Struct, frozen=True):
    """How far it is; with a sequence, also the hash of its state there, once it is there."""

    state_hash_at: int | None = None


class StandbyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What each one that stands by answers."""

    id: str
    host: str
    pid: int
    sequence: int
    ready: bool
    """Whether it has reached the end of the journal since it started."""
    hash: str | None = None


_question_decoder = msgspec.json.Decoder(StandbyQuestion)


class Standby:
    """`until_its_turn` leads `replay` along the journal, and returns with the lease in hand."""

    def __init__(self, connection: Client, settings: Settings, lease: Lease) -> None:
        self.replay = Replay()
        self._connection = connection
        self._settings = settings
        self._lease = lease
        self._ready = False
        self._end: int | None = None
        self._nudged = asyncio.Event()
        self._unanswered = 0
        self._reconnects = 0
        self._connected_at = 0.0
        self._hashes: dict[int, asyncio.Future[object]] = {}

    async def until_its_turn(self) -> None:
        """Raises Refused when the journal cannot be trusted."""
        recorded = await ask_recorder(self._connection, self._settings.recorder_wait_seconds)
        await check_stream(self._connection, self._settings)
        files = snapshot_files(settings_folder(self._settings))
        with refusing_what_does_not_fit():
            self.replay = await newest_good(files, self._connection)
        await respond(self._connection, MATCHER_STANDBY, self._status)
        hearing = await self._connection.subscribe(MATCHER_LEASE_CHANGED, cb=self._on_lease_changed)
        finding = asyncio.create_task(self._find_end())
        try:
            await first_of(
                self._follow(recorded),
                self._watch(),
                keep_taking(files, self._settings, lambda: self.replay.chain.sequence, self._at_rest),
            )
        finally:
            finding.cancel()
        await hearing.unsubscribe()
        await stop_responding(self._connection, MATCHER_STANDBY)

    async def _at_rest(self, take: Callable[[Replay], None]) -> None:
        """Between two turns of `_follow` the state is that after a commit, which came from the journal."""
        take(self.replay)

    # The journal

    async def _follow(self, recorded: Recorded | None) -> None:
        """Without end."""
        with refusing_what_does_not_fit():
            await follow_forever(self._connection, self.replay, recorded, self._on_followed)

    def _on_followed(self) -> None:
        """Called after each commit."""
        sequence = self.replay.chain.sequence
        if self._end is not None and sequence >= self._end and not self._ready:
            self._on_ready()
        waiting = self._hashes.pop(sequence, None) if self._hashes else None
        if waiting is not None and not waiting.done():
            waiting.set_result(begin_hash(self.replay.engine))

    async def _find_end(self) -> None:
        """Ready is who has followed all that the journal held when this was called."""
        while self._end is None:
            try:
                self._end = (await journal_state(self._connection)).last_seq
            except (NatsError, TimeoutError):
                await asyncio.sleep(_LOOK_SECONDS)
        if self.replay.chain.sequence >= self._end:
            self._on_ready()

    def _on_ready(self) -> None:
        self._ready = True
        self._nudged.set()

    # Whose turn it is

    async def _watch(self) -> None:
        """Returns with the lease in hand."""
        said = False
        while not (await self._is_its_turn() and self._ready and await self._lease.take()):
            if self._ready and not said and self._lease.holder is not None:
                said = True
                self._say(self._lease.holder)
            await self._until_next_look()

    def _say(self, leader: Holder) -> None:
        at = self.replay.chain.sequence
        log.info("standing by at journal sequence %d for process %d on %s", at, leader.pid, leader.host)

    async def _until_next_look(self) -> None:
        try:
            await asyncio.wait_for(self._nudged.wait(), _LOOK_SECONDS)
        except TimeoutError:
            pass
        self._nudged.clear()

    async def _is_its_turn(self) -> bool:
        if not await self._lease.look():
            self._unanswered = 0
            return False
        holder = self._lease.holder
        if holder is not None and (holder.handed_to in (self._lease.me.id, ANYONE) or holder.id == self._lease.me.id):
            return True
        if self._lease.is_over:
            return True
        may_answer = holder is None or holder.serving  # one that is only just taking over does not answer yet
        self._unanswered = self._unanswered + 1 if may_answer and await self._nobody_answers() else 0
        return self._unanswered >= _GONE_AFTER

    async def _nobody_answers(self) -> bool:
        """Whether it is certain that the one that leads is not connected.

        Not after a reconnection of our own, as it may be about to come back; and not in a cluster, where a server cut
        off from the others knows nothing of who is connected to them.
        """
        reconnects = self._connection.stats["reconnects"]
        if reconnects != self._reconnects:
            self._reconnects, self._connected_at = reconnects, steady()
        if reconnects and steady() - self._connected_at < self._settings.lease_seconds:
            return False
        if self._connection._server_info.get("cluster"):
            return False
        try:
            await self._connection.request(MATCHER_STATUS, b"{}", timeout=_ANSWER_SECONDS)
        except NoRespondersError:
            return True
        except (NatsError, TimeoutError):
            pass  # somebody is there, if slow
        return False

    async def _on_lease_changed(self, _: Msg) -> None:
        self._nudged.set()

    # What can be asked

    def measures(self) -> Iterator[Measure]:
        chain = self.replay.chain
        return of_follower(chain.sequence, chain.matcher_epoch, ready=self._ready)

    async def _status(self, question: bytes) -> bytes | Failure:
        try:
            asked = _question_decoder.decode(question or b"{}")
        except msgspec.MsgspecError as error:
            return failure(400, "invalid_question", detail=str(error))
        digest = None if asked.state_hash_at is None else await self._hash_at(asked.state_hash_at)
        me = self._lease.me
        return _json.encode(
            StandbyStatus(
                id=me.id,
                host=me.host,
                pid=me.pid,
                sequence=self.replay.chain.sequence,
                ready=self._ready,
                hash=digest,
            )
        )

    async def _hash_at(self, sequence: int) -> str | None:
        """None if it is past there, or not there in time."""
        if sequence == self.replay.chain.sequence:
            return (await hash_begun(begin_hash(self.replay.engine))).hex() or None
        if sequence < self.replay.chain.sequence:
            return None
        waiting = self._hashes.setdefault(sequence, asyncio.get_running_loop().create_future())
        done, _ = await asyncio.wait([waiting], timeout=_HASH_SECONDS)
        if not done:
            self._hashes.pop(sequence, None)
        return (await hash_begun(waiting.result())).hex() or None if done else None


# For the one that leads


async def standbys(connection: Client, seconds: float) -> list[StandbyStatus]:
    """Everyone that stands by and answers within `seconds`."""
    found: list[StandbyStatus] = []
    nobody = asyncio.Event()

    async def on_answer(message: Msg) -> None:
        if message.data:
            found.append(msgspec.json.decode(message.data, type=StandbyStatus))
        else:
            nobody.set()  # the server says that nobody listens

    inbox = connection.new_inbox()
    subscription = await connection.subscribe(inbox, cb=on_answer)
    await connection.publish(MATCHER_STANDBY, b"{}", reply=inbox)
    await asyncio.wait([waiting := asyncio.ensure_future(nobody.wait())], timeout=seconds)
    waiting.cancel()
    await subscription.unsubscribe()
    return found


async def successor(connection: Client, end: Callable[[], int]) -> StandbyStatus | Failure:
    """The one that is furthest, close behind the journal's `end`; or why none can go on now."""
    refusal = failure(409, "no_standby", detail="no matcher stands by; `pricetime up --standby` runs a second one")
    for _ in range(_CHOOSING_TRIES):
        best = max(await standbys(connection, _CHOOSING_SECONDS), key=_how_far, default=None)
        if best is None:
            return refusal
        if best.ready and end() - best.sequence <= _CLOSE_COMMITS:
            return best
        detail = f"{named(best)} is at commit {best.sequence} of {end()}; try later"
        refusal = failure(409, "standby_behind", detail=detail)
    return refusal


def _how_far(standby: StandbyStatus) -> tuple[bool, int]:
    return standby.ready, standby.sequence


def named(standby: StandbyStatus) -> str:
    return f"the standby with process id {standby.pid} on {standby.host}"
