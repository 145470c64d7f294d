"""Postgres as the recorder uses it: a run of commits and all its rows in one transaction, exactly once.

Each transaction begins by moving the position, and only from where this recorder believes it to be. Its row lock makes
a second recorder wait and then find the position moved; and whoever reads the position `for update` waits for an
earlier transaction to end one way or the other. So after a lost connection, or after a recorder that died during
COMMIT, one read of the position tells what became of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import asyncpg

from contracts.commits import GENESIS_HASH
from recorder.rows import Fold
from recorder.schema import migrate
from recorder.tables import COMPARE, connect, write_commits, write_rows
from runtime.service import Refused
from runtime.tls import why_refused

log = logging.getLogger(__name__)

_T = TypeVar("_T")

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
        self.last_trade_id = 0
        """Of the trades recorded so far."""
        self.failures = 0
        """Tries that Postgres did not let through."""

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def open(self) -> None:
        """Wait for Postgres, bring the tables up to date and find the position."""
        await self._persist(migrate, seconds=None)
        self.position, self.last_trade_id = await self._persist(_read_position)

    async def record(self, fold: Fold, reached: Position) -> None:
        """Write the rows and move on to the position after them: completely and once, however many tries it takes."""
        tries = 0

        async def attempt(connection: asyncpg.Connection) -> None:
            nonlocal tries
            tries += 1
            if await _write(connection, fold, self.position, reached):
                return
            found, _ = await _read_position(connection)
            if tries == 1 or found != reached:  # else a try whose answer was lost has done it
                raise _other_recorder(self.position, found)

        await self._persist(attempt)
        self.position, self.last_trade_id = reached, fold.last_trade_id

    async def payload(self, sequence: int) -> bytes | None:
        """The journal message recorded as `sequence`."""

        async def attempt(connection: asyncpg.Connection) -> bytes | None:
            payload: bytes | None = await connection.fetchval(
                "select payload from journal_commits where sequence = $1", sequence
            )
            return payload

        return await self._persist(attempt)

    async def check_alone(self) -> None:
        """Raises Refused when another recorder has moved the position: what is missing may be what that one has."""
        found, _ = await self._persist(_read_position)
        if found != self.position:
            raise _other_recorder(self.position, found)

    def close(self) -> None:
        """At once: a transaction under way is abandoned, and so rolled back unless its COMMIT is already there."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _persist(
        self, action: Callable[[asyncpg.Connection], Awaitable[_T]], seconds: float | None = _TRANSACTION_SECONDS
    ) -> _T:
        """Carry out the action on a working connection, again and again until Postgres lets it through.

        `seconds`: how long one try may take; None for as long as it needs.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with asyncio.timeout(seconds):
                    return await action(await self._connected())
            except Exception as error:
                lost = isinstance(error, _LOST) and why_refused(error) is None
                lost = lost or (self._connection is not None and self._connection.is_closed())
                self.close()  # whatever it was, a transaction left half done ends with its connection
                if not lost:
                    raise _explained(error) from error
                self.failures += 1
                log.warning("cannot use Postgres, trying again: %s", str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, _SESSION)
        return self._connection


async def _read_position(connection: asyncpg.Connection) -> tuple[Position, int]:
    """The position and the last trade recorded.

    Waits for a transaction that has already moved the position to end, even if its recorder is dead.
    """
    row = await connection.fetchrow("select sequence, hash, journal_epoch from recorder_position for update")
    if row is None:
        raise Refused("the table recorder_position has lost its row; start with an empty database")
    return Position(*row), await connection.fetchval("select coalesce(max(trade_id), 0) from trades")


async def _write(connection: asyncpg.Connection, fold: Fold, before: Position, after: Position) -> bool:
    """All of the run in one transaction. False, and nothing written, if the position is not `before`."""
    await connection.execute("begin")
    if not await connection.fetchval(_MOVE_POSITION, *after, before.sequence, before.hash):
        await connection.execute("rollback")
        return False
    await write_commits(connection, fold)
    await write_rows(connection, fold)
    await connection.execute("commit")
    return True


def _explained(error: Exception) -> Exception:
    """An error that trying again cannot mend, as a refusal if somebody can act on it."""
    if (why := why_refused(error)) is not None:
        return Refused(f"Postgres: {why}. Check sslrootcert and the host name in PRICETIME_POSTGRES_URL")
    if isinstance(error, _UNUSABLE):
        return Refused(f"Postgres cannot be used ({error}): check PRICETIME_POSTGRES_URL")
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return Refused(f"Postgres holds rows that the journal does not explain ({error}){COMPARE}")
    return error


def _other_recorder(believed: Position, found: Position) -> Refused:
    return Refused(
        f"another recorder writes to this database: the position was {believed.sequence} and is now "
        f"{found.sequence}. Only one may run, and this one has written nothing since. Stop the other to use this one"
    )
