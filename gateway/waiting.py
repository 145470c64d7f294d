"""Orders that came while there was no room: for a moment they wait for it, first come first served, before a no.

A refused client sends again, so whoever refuses at once is asked all the more often. One who waits sends nothing, and
costs next to nothing; most get room meanwhile, and the room never stands empty. docs/decisions/0048.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from entry.admission import Admission, Kind

MAX_BYTES = 8 * 2**20
"""Of all that wait; beyond it requests are refused at once."""
_OTHERS_SHARE = 8
_LOOK_SECONDS = 0.005
"""Those whose time is over within so long are told in one go."""

OnTurn = Callable[[bool], None]
"""Is told once whether there is room: then it has to enter there and then."""


class _Waiting(Struct, frozen=True, gc=False):
    until: float
    size: int
    on_turn: OnTurn


class WaitingLine:
    """Before one `Admission`, whose `on_leave` it takes. `patience_seconds`: how long one waits; 0 for not at all.

    An eighth of the room is not given to those who wait: it is left to those who cannot, as requests over NATS.
    """

    def __init__(self, admission: Admission, patience_seconds: float) -> None:
        self._admission = admission
        self._patience = patience_seconds
        self._room = admission.room - admission.room // _OTHERS_SHARE
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        admission.on_leave = self.move_up

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_needed(self) -> bool:
        """Whether an order that comes now has to wait: for room, or for those who came before it."""
        return bool(self._waiting) or not self._admission.has_room(Kind.ORDER)

    def join(self, on_turn: OnTurn, size: int) -> bool:
        """False if it cannot wait and is to be refused now. `size`: the bytes that are kept meanwhile."""
        if not self._patience or self._bytes + size > MAX_BYTES:
            return False
        loop = asyncio.get_running_loop()
        self._waiting.append(_Waiting(loop.time() + self._patience, size, on_turn))
        self._bytes += size
        if self._timer is None:
            self._timer = loop.call_later(self._patience, self._turn_away)
        return True

    def move_up(self) -> None:
        """Let in those for whom there is room now."""
        while self._waiting and self._admission.at_work(Kind.ORDER) < self._room:
            self._next().on_turn(True)

    def _next(self) -> _Waiting:
        first = self._waiting.popleft()
        self._bytes -= first.size
        return first

    def _turn_away(self) -> None:
        """Tell those who have waited for long enough."""
        loop = asyncio.get_running_loop()
        over = loop.time() + _LOOK_SECONDS
        while self._waiting and self._waiting[0].until <= over:
            self._next().on_turn(False)
        self._timer = None
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0].until, self._turn_away)
