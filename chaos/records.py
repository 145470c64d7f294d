"""What is known of a run, whoever ran it: real processes or a simulation. Pure.

Times are seconds of one monotonic clock that all clients share. Journal sequences are as everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contracts.messages import ClientCommand, Outcome


@dataclass(frozen=True, slots=True)
class Done:
    """The command was acknowledged. `replayed`: it was said to have been done before.

    `shown`: the JSON of the answer, or its Outcome; None if only the sequence is known.
    """

    sequence: int
    shown: Mapping[str, Any] | Outcome | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The rules said no, as judged after journal sequence `sequence`; `order_id`: the order that is in the way."""

    code: str
    sequence: int | None = None
    order_id: int | None = None


@dataclass(frozen=True, slots=True)
class NotDone:
    """The exchange said that nothing was done, for want of room or of a matcher."""

    code: str


Result = Done | Refused | NotDone | None
"""None: unknown. The command may be carried out, or not, at any time after it was sent."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One attempt of a client. A retry is another operation with an equal command."""

    client: str
    command: ClientCommand
    invoked: float
    returned: float | None = None
    result: Result = None


@dataclass(frozen=True, slots=True)
class OrderRead:
    """An order as a read showed it. `seen`: the journal sequence that the client had been told before."""

    client: str
    order_id: int
    seen: int
    shown: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DepthRead:
    """The book as a read, or a folded stream, showed it after `sequence`.

    `levels`: how many of each side; None: all.
    """

    client: str
    symbol: str
    seen: int
    sequence: int
    bids: Sequence[Sequence[str]]
    asks: Sequence[Sequence[str]]
    levels: int | None = None


@dataclass(frozen=True, slots=True)
class TradesSeen:
    """Trades as one unbroken subscription showed them, all of them from `after` on.

    `after`: the trade before the first one due, None if the subscription began wherever it began. `is_lossy`: what the
    reader missed while it was away is not made up for, so a gap is no lie, but order and content must be right.
    `until`: the stream said that everything up to this journal sequence had been sent. `is_unordered`: what was held up
    in a slow connection may come behind what went over the next one; but still nothing twice.
    """

    client: str
    shown: Sequence[Mapping[str, Any]]
    after: int | None = None
    symbol: str | None = None
    is_lossy: bool = False
    until: int | None = None
    is_unordered: bool = False


@dataclass(frozen=True, slots=True)
class UpdatesSeen:
    """Changes of an account's orders as one unbroken subscription showed them: (sequence, index, order id, event).

    `after` is a sequence and an index; the rest is as for TradesSeen.
    """

    client: str
    account: str
    shown: Sequence[tuple[int, int, int, str]]
    after: tuple[int, int] | None = None
    is_lossy: bool = False
    until: int | None = None
    is_unordered: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """Postgres. Each row as a tuple; None: was not asked for.

    `commits`: sequence, payload. `trades`: id, price, quantity, maker, taker, journal sequence.
    `orders`: id, account, quantity, filled quantity, status. `positions`: account, symbol, quantity.
    """

    position: int
    commits: Sequence[tuple[int, bytes]] | None = None
    trades: Sequence[tuple[int, int, int, int, int, int]] | None = None
    orders: Sequence[tuple[int, str, int, int, str]] | None = None
    positions: Sequence[tuple[str, str, int]] | None = None


@dataclass(frozen=True, slots=True)
class StateHash:
    """What somebody (leader, standby, snapshot) said the state was after `sequence`."""

    who: str
    sequence: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Records:
    """`journal`: the raw messages from sequence 1. `is_complete`: every client command in it is one of `operations`."""

    journal: Sequence[tuple[int, bytes]]
    operations: Sequence[Operation] = ()
    order_reads: Sequence[OrderRead] = ()
    depth_reads: Sequence[DepthRead] = ()
    trades_seen: Sequence[TradesSeen] = ()
    updates_seen: Sequence[UpdatesSeen] = ()
    recorded: Recorded | None = None
    state_hashes: Sequence[StateHash] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Violation:
    """`rule` names the invariant; `detail` says what is wrong, with every number needed to find it."""

    rule: str
    detail: str
    sequence: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"
