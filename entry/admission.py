"""Who is let in when more is asked than can be done: so much at work at once, and no to the rest, at once.

Pure: the one who asks tells the time. Three pools, so that what waits for Postgres or for a matcher that is away takes
no room from the rest: trading, reading, and requests to be stored for later. Cancelations have room beyond that of
other orders, as in the matcher: getting out must work when getting in does not. docs/decisions/0027.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from entry.problems import Declined, Problem

CANCEL_ROOM = 1.25
BYTES_OF_ONE = 2_000
"""A larger request counts as several: its body takes memory, and a batch work."""
MAX_RETRY_AFTER_SECONDS = 5
_WINDOW_SECONDS = 1


class Kind(Enum):
    __hash__ = object.__hash__  # Enum's own is three times as slow, and each order is looked up several times

    ORDER = "order"
    CANCEL = "cancel"
    READ = "read"
    DEFERRED = "deferred"


@dataclass(slots=True)
class Pool:
    name: str
    at_work: int = 0
    refused: int = 0
    """Since the window began; so is `finished`."""
    finished: int = 0
    refused_before: int = 0

    @property
    def all_refused(self) -> int:
        """Since the process began."""
        return self.refused_before + self.refused


class Admission:
    """One per process and way in. Whoever may `enter` must `leave` again, with the same weight.

    `room`: how many requests of a pool may be at work; with requests that count as several, a little more.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        trading, reading, storing = Pool("trading"), Pool("reading"), Pool("storing")
        self.pools = (trading, reading, storing)
        self._places = {
            Kind.ORDER: (trading, room),
            Kind.CANCEL: (trading, int(room * CANCEL_ROOM)),
            Kind.READ: (reading, room),
            Kind.DEFERRED: (storing, room),
        }
        self.on_leave: Callable[[], None] | None = None
        """Is called whenever some of the room for trading has been given back."""
        self._window_began = 0.0
        self._seconds = 1
        self._turn = 0

    def at_work(self, kind: Kind) -> int:
        return self._places[kind][0].at_work

    def has_room(self, kind: Kind) -> bool:
        pool, room = self._places[kind]
        return pool.at_work < room

    def refuse(self, kind: Kind) -> None:
        """Count one that was refused without having asked to enter."""
        self._places[kind][0].refused += 1

    def enter(self, kind: Kind, weight: int = 1) -> bool:
        pool, room = self._places[kind]
        if pool.at_work >= room:
            pool.refused += 1
            return False
        pool.at_work += weight
        return True

    def leave(self, kind: Kind, weight: int = 1) -> None:
        pool = self._places[kind][0]
        pool.at_work -= weight
        pool.finished += 1
        if self.on_leave is not None and pool is self.pools[0]:
            self.on_leave()

    def retry_after(self, now: float) -> int:
        """In how many seconds one who is refused now should come again; `now` is in seconds.

        Those refused in one second come back over as many seconds as their work takes, not all together.
        """
        if now - self._window_began >= _WINDOW_SECONDS:
            self._seconds = max(_seconds_of_work(pool) for pool in self.pools)
            self._window_began = now
            for pool in self.pools:
                pool.refused_before += pool.refused
                pool.refused = pool.finished = 0
        self._turn += 1
        return 1 + self._turn % self._seconds


def weight_of(size: int) -> int:
    """What a request with a body of so many bytes counts for."""
    return 1 + size // BYTES_OF_ONE


def overloaded(seconds: int) -> Declined:
    return Declined(
        Problem(
            code="overloaded",
            detail="Nothing was done: as many requests are at work as may be. Send it again after retry_after seconds.",
            retry_after=seconds,
        )
    )


def _seconds_of_work(pool: Pool) -> int:
    """How long what was refused in the last second would have taken, at the speed of that second."""
    seconds = -(-pool.refused // max(pool.finished, 1))
    return min(max(seconds, 1), MAX_RETRY_AFTER_SECONDS)
