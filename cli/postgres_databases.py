"""The database of a stopped stack, and a new one that takes its place."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from cli.private_servers import DoesNotStart, running
from cli.servers import POSTGRES_DATABASE, PostgresPlan, postgres_program, prepare_postgres

_NEW = f"{POSTGRES_DATABASE}_rebuilt"


@dataclass
class Databases:
    """`old` is a connection to what there is, None if that cannot be used."""

    plan: PostgresPlan
    old: asyncpg.Connection | None
    recorded: int = 0
    """How far it was recorded, as it says itself."""
    last_commit: int = 0

    @property
    def new_url(self) -> str:
        return self.plan.url(_NEW)

    async def create_new(self) -> None:
        """Empty; one that an interrupted try has left goes."""
        await self._change(f"drop database if exists {_NEW} with (force)", f"create database {_NEW}")

    async def swap(self, moment: str) -> str:
        """The new one takes the place of the old one, at once or not at all. Returns what became of the old one."""
        await self.close()
        if not await self._exists():
            await self._change(f"alter database {_NEW} rename to {POSTGRES_DATABASE}")
            return "There was no old database."
        kept = f"{POSTGRES_DATABASE}_before_{moment.replace('-', '_')}"
        await self._change(
            "begin",
            f"alter database {POSTGRES_DATABASE} rename to {kept}",
            f"alter database {_NEW} rename to {POSTGRES_DATABASE}",
            "commit",
        )
        return f"The old one is the database {kept}."

    async def close(self) -> None:
        if self.old is not None:
            await self.old.close()
            self.old = None

    async def _exists(self) -> bool:
        connection = await asyncpg.connect(self.plan.url("postgres"))
        try:
            query = "select exists (select from pg_database where datname = $1)"
            return bool(await connection.fetchval(query, POSTGRES_DATABASE))
        finally:
            await connection.close()

    async def _change(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.plan.url("postgres"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def databases(
    data: Path, say: Callable[[str], None], *, set_aside_as: str | None = None
) -> AsyncIterator[Databases]:
    """Postgres on the data of the stack.

    `set_aside_as`: if it does not start, its folder is renamed to this, and an empty one is made.
    """
    folder, log = data / "postgres", data / "logs" / "postgres.log"
    found = folder.exists()
    async with AsyncExitStack() as started:
        try:
            each = await started.enter_async_context(_started(prepare_postgres(folder), log))
        except DoesNotStart as error:
            if set_aside_as is None or not found:
                raise
            aside = folder.with_name(set_aside_as)
            say(f"  {error}. Its folder is kept as {aside}, and an empty one is made")
            folder.rename(aside)
            each = await started.enter_async_context(_started(prepare_postgres(folder), log))
        if each.old is None:
            say("  Postgres holds nothing that can be used")
        yield each


@asynccontextmanager
async def _started(plan: PostgresPlan, log: Path) -> AsyncIterator[Databases]:
    async with running(postgres_program(plan), log, lambda: _is_well(plan)):
        each = await _open(plan)
        try:
            yield each
        finally:
            await each.close()


async def _open(plan: PostgresPlan) -> Databases:
    try:
        connection = await asyncpg.connect(plan.url())
    except asyncpg.InvalidCatalogNameError:
        return Databases(plan, None)
    try:
        recorded = await connection.fetchval("select sequence from recorder_position")
        last = await connection.fetchval("select max(sequence) from journal_commits")
    except asyncpg.PostgresError:
        await connection.close()
        return Databases(plan, None)
    return Databases(plan, connection, recorded or 0, last or 0)


async def _is_well(plan: PostgresPlan) -> bool:
    try:
        await (await asyncpg.connect(plan.url("postgres"), timeout=5)).close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
