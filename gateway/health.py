"""Is the exchange ready? Each part is asked, all at once, and named with what it said."""

import asyncio

import msgspec
from msgspec import UNSET, Struct, UnsetType
from nats.aio.client import Client

from contracts.subjects import BROADCASTER_STATUS, MATCHER_STATUS, RECORDER_STATUS
from entry.problems import Declined
from entry.services import ask

MAX_RECORDER_LAG = 10_000
"""Commits that the recorder may be behind; beyond it, reads that wait for it would mostly fail."""
_TIMEOUT_SECONDS = 1.0


class Check(Struct, frozen=True):
    ok: bool
    sequence: int | UnsetType = UNSET
    lag: int | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Readiness(Struct, frozen=True):
    """`ready` when every check is ok."""

    status: str
    checks: dict[str, Check]


class _Status(Struct):
    sequence: int
    serving: bool = True


_decoder = msgspec.json.Decoder(_Status)


class Health:
    def __init__(self, connection: Client) -> None:
        self._connection = connection

    async def check(self) -> Readiness:
        matcher, recorder, broadcaster = await asyncio.gather(
            self._status(MATCHER_STATUS), self._status(RECORDER_STATUS), self._status(BROADCASTER_STATUS)
        )
        stalled = matcher is not None and not matcher.serving
        return readiness(self._connection.is_connected, _of(matcher), _of(recorder), _of(broadcaster), stalled=stalled)

    async def _status(self, subject: str) -> _Status | None:
        """What a service says of itself; None if it does not answer."""
        try:
            answer = await ask(self._connection, subject, b"{}", _TIMEOUT_SECONDS, "matcher_unavailable")
        except Declined:
            return None
        return _decoder.decode(answer)


def _of(status: _Status | None) -> int | None:
    return None if status is None else status.sequence


def readiness(
    connected: bool, matcher: int | None, recorder: int | None, broadcaster: int | None, *, stalled: bool = False
) -> Readiness:
    """From the journal sequence that each service is at, None if it does not answer.

    `stalled`: the journal has not taken the matcher's last commit for a while.
    """
    checks = {
        "nats": Check(ok=True) if connected else Check(ok=False, detail="not connected"),
        "matcher": Check(ok=False, detail="the journal takes no writes now") if stalled else _answered(matcher),
        "recorder": _recorder(matcher, recorder),
        "broadcaster": _answered(broadcaster),
    }
    status = "ready" if all(check.ok for check in checks.values()) else "not_ready"
    return Readiness(status, checks)


def _answered(sequence: int | None) -> Check:
    return Check(ok=False, detail="does not answer") if sequence is None else Check(ok=True, sequence=sequence)


def _recorder(matcher: int | None, recorder: int | None) -> Check:
    if matcher is None or recorder is None:
        return _answered(recorder)
    lag = max(0, matcher - recorder)
    return Check(ok=lag <= MAX_RECORDER_LAG, sequence=recorder, lag=lag)
