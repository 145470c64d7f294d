"""Who should be the matcher: one entry of the bucket MATCHER, renewed by its holder and watched by those who stand by.

It says who should try, no more. What keeps two matchers from writing is the barrier and the fence, whatever anybody
believes of the lease (docs/decisions/0002). Time is never compared between machines: an entry is over when whoever
looks has not seen it change for `lease_seconds` on its own clock (docs/decisions/0022).
"""

import asyncio
import json
import logging
import math
import os
import secrets
import socket

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from contracts.subjects import MATCHER_BUCKET, MATCHER_LEASE_CHANGED
from runtime.clock import steady
from runtime.settings import Settings

log = logging.getLogger(__name__)

ANYONE = "anyone"
"""In `handed_to`: whoever stands by may go on."""

_STREAM = f"KV_{MATCHER_BUCKET}"
_ENTRY = f"$KV.{MATCHER_BUCKET}.leader"
_ANSWER_SECONDS = 0.5
_WRONG_LAST_SEQUENCE = (10071, 10164)
_TROUBLE = (NatsError, TimeoutError, ValueError)


class Holder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The entry's content."""

    id: str
    host: str = ""
    pid: int = 0
    matcher_epoch: int = 0
    serving: bool = False
    """Whether it answers requests; not while it is taking over, or finishing what it has."""
    handed_to: str | None = None
    """The id of the standby that is to go on, or ANYONE: the holder has finished."""


_decoder = msgspec.json.Decoder(Holder)
_encode = msgspec.json.Encoder().encode


class Lease:
    """What one process knows of the entry, and holds of it."""

    def __init__(self, connection: Client, settings: Settings) -> None:
        self.me = Holder(id=secrets.token_hex(6), host=socket.gethostname(), pid=os.getpid())
        self.holder: Holder | None = None
        """Whose entry was there when last looked."""
        self.lost = asyncio.Event()
        """Set when an entry of somebody else was found where ours should be."""
        self._connection = connection
        self._replicas = settings.replicas
        self._seconds = settings.lease_seconds
        self._sequence = 0
        """Of the entry that `holder` is in; 0 if there is none."""
        self._unchanged_since: float | None = None
        self._reconnects = 0
        self._held = False
        self._renewed_at = -math.inf
        self._troubled = False

    # To stand by

    async def look(self) -> bool:
        """Read the entry. False if it cannot be read now: then how long it has not changed is counted anew.

        So it is after a reconnection: the holder was probably cut off as well, and is to have the time to come back.
        """
        reconnects = self._connection.stats["reconnects"]
        try:
            holder, sequence = await self._read()
        except _TROUBLE:
            self._unchanged_since = None
            return False
        new = sequence not in (0, self._sequence)  # one that has expired was not renewed: that is no change
        if new or self._unchanged_since is None or reconnects != self._reconnects:
            self._unchanged_since = steady()
        self.holder, self._sequence, self._reconnects = holder, sequence, reconnects
        return True

    @property
    def is_over(self) -> bool:
        """Whether its holder has not renewed it for as long as it holds, as seen from here."""
        return self._unchanged_since is not None and steady() - self._unchanged_since >= self._seconds

    async def take(self) -> bool:
        """Take it over, if it still is as it was when last looked. False if it is not, or that cannot be known."""
        self.me = replace(self.me, serving=False, handed_to=None)
        sent = steady()
        try:
            sequence = await self._write(self.me, self._sequence)
        except _TROUBLE:
            return False  # if it was stored all the same, the next look finds it
        if sequence is None:
            return False
        self._sequence, self._renewed_at, self._held = sequence, sent, True
        self.holder = self.me
        self.lost.clear()
        return True

    # To hold

    @property
    def is_held(self) -> bool:
        return self._held

    @property
    def is_certain(self) -> bool:
        """Whether nobody can have taken it over meanwhile, as far as clocks run alike."""
        return self._held and steady() - self._renewed_at < self._seconds

    async def hold(self) -> None:
        """Renew it as long as it is held. Returns never."""
        while True:
            if self._held:
                await self.renew()
            await asyncio.sleep(self._seconds / 3)

    async def renew(self, **changes: object) -> None:
        """Once, with these fields changed. What goes wrong shows in `is_certain` and `lost`, and is tried again."""
        self.me = replace(self.me, **changes)
        try:
            if not await self._renew() and await self._may_go_on():
                await self._renew()
            self._troubled = False
        except _TROUBLE as error:
            if not self._troubled:
                log.warning("the lease cannot be renewed (%s); trying on", error or type(error).__name__)
            self._troubled = True

    async def _renew(self) -> bool:
        sent = steady()
        sequence = await self._write(self.me, self._sequence)
        if sequence is not None:
            self._sequence, self._renewed_at = sequence, sent
        return sequence is not None

    async def _may_go_on(self) -> bool:
        """Another entry is there than the one that we renew: an earlier try of ours, none, or somebody else's."""
        holder, self._sequence = await self._read()
        if holder is None or holder.id == self.me.id:
            return True
        self.holder, self._held = holder, False
        self.lost.set()
        log.warning("the lease is held by the matcher with process id %d on %s", holder.pid, holder.host)
        return False

    # To give away

    async def hand_to(self, standby: str) -> None:
        """Say that all is finished here, and who is to go on. From then on it is not renewed."""
        await self.renew(serving=False, handed_to=standby)
        self._held = False
        self._unchanged_since = steady()
        await self._connection.publish(MATCHER_LEASE_CHANGED, b"")

    # The bucket

    async def _read(self) -> tuple[Holder | None, int]:
        self._check_connected()
        try:
            manager = self._connection.jsm(timeout=_ANSWER_SECONDS)
            found = await manager.get_msg(_STREAM, 1, _ENTRY, next=True)
        except NotFoundError:
            return None, 0
        try:
            return _decoder.decode(found.data or b""), found.seq or 0
        except msgspec.MsgspecError:
            return None, found.seq or 0  # somebody else's doing; it is over after its time as any other

    async def _write(self, holder: Holder, after: int) -> int | None:
        """The sequence of the new entry; None if the one with sequence `after` is not the last."""
        self._check_connected()
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(after),
            "Nats-TTL": f"{math.ceil(self._seconds)}s",
        }
        try:
            reply = await self._connection.request(_ENTRY, _encode(holder), timeout=_ANSWER_SECONDS, headers=headers)
        except NoRespondersError:
            await self._create_bucket()
            return None
        answer = json.loads(reply.data)
        if "error" not in answer:
            return int(answer["seq"])
        if answer["error"].get("err_code") in _WRONG_LAST_SEQUENCE:
            return None
        raise Unwritten(str(answer["error"].get("description", answer["error"])))

    def _check_connected(self) -> None:
        if not self._connection.is_connected:  # nats-py would keep it and send it much later
            raise Unwritten("not connected")

    async def _create_bucket(self) -> None:
        """In memory: what it holds is renewed all the time, and a slow disk says nothing about who should lead.

        In a cluster on disk: a node that comes back with an empty memory may not help to choose a leader for it, so
        that after the loss of two the bucket would stay away until all three are back (docs/decisions/0024).
        """
        await self._connection.jsm(timeout=_ANSWER_SECONDS).add_stream(
            StreamConfig(
                name=_STREAM,
                description="Pricetime's lease: who should be the matcher",
                subjects=[f"$KV.{MATCHER_BUCKET}.>"],
                storage=StorageType.MEMORY if self._replicas == 1 else StorageType.FILE,
                discard=DiscardPolicy.NEW,
                num_replicas=self._replicas,
                max_msgs_per_subject=1,
                allow_msg_ttl=True,
                allow_direct=False,
            )
        )


class Unwritten(NatsError):
    """The message says why."""
