"""Postgres as the recorder uses it: a run of commits and all its rows in one transaction, exactly once.

Each transaction begins by moving the position, and only from where this recorder believes it to be. Its row lock makes
a second recorder wait and then find the position moved; and whoever reads the position `for update` waits for an
earlier transaction to end one way or the other. So after a lost connection, or after a recorder that died during
COMMIT, one read of the position tells what became of it.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

import asyncpg
from msgspec.structs import astuple

from contracts.commits import GENESIS_HASH
from contracts.messages import OrderStatus
from recorder.rows import CommitRow, Fold, OrderChange, OrderRow, TradeRow
from recorder.schema import migrate
from runtime.service import Refused

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_CONNECT_SECONDS = 5
_TRANSACTION_SECONDS = 60
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # restarting, shut down, terminated by an administrator
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.TransactionRollbackError,
    asyncpg.InternalClientError,  # what asyncpg says when the session ends between two of its messages
)
"""Postgres is away or cannot now: the same transaction may succeed later."""

_UNUSABLE = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)
_COMPARE = ". Somebody else has written to it; `pricetime verify` shows what differs"
_POSTGRES_EPOCH = 946_684_800_000_000
"""2000-01-01, where Postgres's times begin, in microseconds since 1970."""

_SESSION = {
    "application_name": "pricetime-recorder",
    "jit": "off",
    # The one join finds orders by primary key. Right after the start the tables are empty and their statistics say
    # so; without these lines the plan made then reads the whole table, and is kept while the table grows.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

_MOVE_POSITION = """
update recorder_position set sequence = $1, hash = $2, journal_epoch = $3
where sequence = $4 and hash = $5
returning true
"""

_CHANGE_ORDERS = f"""
update orders set
    price = coalesce(change.price, orders.price),
    quantity = coalesce(change.quantity, orders.quantity),
    filled_quantity = orders.filled_quantity + change.added_quantity,
    filled_notional = orders.filled_notional + change.added_notional,
    status = case
        when change.reason is not null then '{OrderStatus.CANCELED.value}'
        when orders.filled_quantity + change.added_quantity = coalesce(change.quantity, orders.quantity)
            then '{OrderStatus.FILLED.value}'
        when orders.filled_quantity + change.added_quantity > 0 then '{OrderStatus.PARTIALLY_FILLED.value}'
        else '{OrderStatus.OPEN.value}'
    end,
    reason = change.reason,
    updated_at = change.updated_at,
    sequence = change.sequence
from unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::numeric[], $6::text[], $7::timestamptz[], $8::bigint[]
) as change ({", ".join(OrderChange.__struct_fields__)})
where orders.order_id = change.order_id
"""

_DEFINE_INSTRUMENTS = """
insert into instruments (symbol, tick_size, lot_size, min_quantity, max_quantity, status, sequence)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (symbol) do update set
    tick_size = excluded.tick_size, lot_size = excluded.lot_size, min_quantity = excluded.min_quantity,
    max_quantity = excluded.max_quantity, status = excluded.status, sequence = excluded.sequence
"""


class Position(NamedTuple):
    """How far Postgres has got: everything up to the commit `sequence` with this `hash`."""

    sequence: int = 0
    hash: bytes = GENESIS_HASH
    journal_epoch: str | None = None


class Store:
    """The recorder's only connection to Postgres; made anew whenever it is lost, for as long as it takes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self.position = Position()

    async def open(self) -> None:
        """Wait for Postgres, bring the tables up to date and find the position."""
        self.position = await self._persist(self._find_position)

    async def record(self, fold: Fold, reached: Position) -> None:
        """Write the rows and move on to the position after them: completely and once, however many tries it takes."""
        tries = 0

        async def attempt(connection: asyncpg.Connection) -> None:
            nonlocal tries
            tries += 1
            if await _write(connection, fold, self.position, reached):
                return
            found = await _read_position(connection)
            if tries == 1 or found != reached:  # else a try whose answer was lost has done it
                raise _other_recorder(self.position, found)

        await self._persist(attempt)
        self.position = reached

    async def payload(self, sequence: int) -> bytes | None:
        """The journal message recorded as `sequence`."""

        async def attempt(connection: asyncpg.Connection) -> bytes | None:
            payload: bytes | None = await connection.fetchval(
                "select payload from journal_commits where sequence = $1", sequence
            )
            return payload

        return await self._persist(attempt)

    def close(self) -> None:
        """At once: a transaction under way is abandoned, and so rolled back unless its COMMIT is already there."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _persist(self, action: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        """Carry out the action on a working connection, again and again until Postgres lets it through."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(_TRANSACTION_SECONDS):
                    return await action(await self._connected())
            except Exception as error:
                lost = isinstance(error, _LOST) or (self._connection is not None and self._connection.is_closed())
                self.close()  # whatever it was, a transaction left half done ends with its connection
                if not lost:
                    raise _explained(error) from error
                log.warning("cannot use Postgres, trying again: %s", str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, _SESSION)
        return self._connection

    async def _find_position(self, connection: asyncpg.Connection) -> Position:
        await migrate(connection)
        return await _read_position(connection)


async def connect(url: str, session: dict[str, str] | None = None) -> asyncpg.Connection:
    """A connection on which times are ints (microseconds since 1970) and a numeric without a fraction is an int.

    That is how recorder/rows.py has them, and it halves the time that COPY needs on our side.
    """
    connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, server_settings=session)
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode_time, decoder=_decode_time, format="tuple"
    )
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=encode_numeric, decoder=decode_numeric, format="binary"
    )
    return connection


async def _read_position(connection: asyncpg.Connection) -> Position:
    """Waits for a transaction that has already moved the position to end, even if its recorder is dead."""
    row = await connection.fetchrow("select sequence, hash, journal_epoch from recorder_position for update")
    if row is None:
        raise Refused("the table recorder_position has lost its row; start with an empty database")
    return Position(*row)


async def _write(connection: asyncpg.Connection, fold: Fold, before: Position, after: Position) -> bool:
    """All of the run in one transaction. False, and nothing written, if the position is not `before`."""
    await connection.execute("begin")
    if not await connection.fetchval(_MOVE_POSITION, *after, before.sequence, before.hash):
        await connection.execute("rollback")
        return False
    await _copy(connection, "journal_commits", CommitRow._fields, fold.commits)
    await _copy(connection, "trades", TradeRow._fields, fold.trades)
    await _copy(connection, "orders", OrderRow.__struct_fields__, [astuple(row) for row in fold.orders.values()])
    await _change_orders(connection, list(fold.changes.values()))
    if fold.instruments:
        await connection.executemany(_DEFINE_INSTRUMENTS, fold.instruments.values())
    await connection.execute("commit")
    return True


async def _copy(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    if rows:
        await connection.copy_records_to_table(table, columns=columns, records=rows)


async def _change_orders(connection: asyncpg.Connection, changes: list[OrderChange]) -> None:
    if not changes:
        return
    done = await connection.execute(_CHANGE_ORDERS, *zip(*map(astuple, changes), strict=True))
    if done != f"UPDATE {len(changes)}":
        raise Refused(f"the journal changes {len(changes)} orders, but Postgres has only {done.split()[-1]}{_COMPARE}")


def _explained(error: Exception) -> Exception:
    """An error that trying again cannot mend, as a refusal if somebody can act on it."""
    if isinstance(error, _UNUSABLE):
        return Refused(f"Postgres cannot be used ({error}): check PRICETIME_POSTGRES_URL")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return Refused(f"Postgres holds rows that the journal does not explain ({error}){_COMPARE}")
    return error


def _other_recorder(believed: Position, found: Position) -> Refused:
    return Refused(
        f"another recorder writes to this database: the position was {believed.sequence} and is now "
        f"{found.sequence}. Only one may run, and this one has written nothing since. Stop the other to use this one"
    )


# How ints travel


def _encode_time(microseconds: int) -> tuple[int]:
    return (microseconds - _POSTGRES_EPOCH,)


def _decode_time(wire: tuple[int]) -> int:
    return wire[0] + _POSTGRES_EPOCH


def encode_numeric(value: int) -> bytes:
    """Postgres's binary numeric: number of digits, weight of the first, sign, scale; then digits to the base 10000."""
    assert value >= 0
    digits = []
    while value:
        value, digit = divmod(value, 10_000)
        digits.append(digit)
    count = len(digits)
    return struct.pack(f"!hhhh{count}h", count, count - 1, 0, 0, *reversed(digits))


def decode_numeric(wire: bytes) -> int:
    count, weight, sign, scale = struct.unpack_from("!hhHh", wire)
    assert (sign, scale) == (0, 0), "only whole numbers are read here"
    value = 0
    for digit in struct.unpack_from(f"!{count}h", wire, 8):
        value = value * 10_000 + digit
    return int(value * 10_000 ** (weight + 1 - count))
