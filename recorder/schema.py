"""How do Postgres's tables come to be what this program expects? By the numbered files in recorder/migrations.

Each is applied once, in order, in one transaction for all of them; two programs that start at the same moment wait for
one another. A file is never edited after a release: write the next one.
"""

import logging
from importlib.resources import files
from typing import NamedTuple

import asyncpg

from recorder.rebuild import rebuild
from runtime.service import Refused

log = logging.getLogger(__name__)

_LOCK = 0x70726963_6574696D
"""Advisory lock, "pricetim": any number will do as long as it stays the same."""


_LAST_REBUILT = 2
"""The last version whose file empties the tables: once all files are applied, the journal fills them again."""


class Migration(NamedTuple):
    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """In order: from 0001_initial.sql, version 1 and name `initial`."""
    found = [file for file in files("recorder.migrations").iterdir() if file.name.endswith(".sql")]
    return sorted(
        Migration(int(number), name, file.read_text(encoding="utf-8"))
        for file in found
        for number, _, name in [file.name.removesuffix(".sql").partition("_")]
    )


async def migrate(connection: asyncpg.Connection) -> None:
    """Apply what is missing. Raises Refused when the database is ahead of this program."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(
            "create table if not exists schema_migrations ("
            "version integer primary key, name text not null, applied_at timestamptz not null default now())"
        )
        applied: int = await connection.fetchval("select coalesce(max(version), 0) from schema_migrations")
        known = migrations()
        if applied > known[-1].version:
            raise Refused(
                f"the database has schema version {applied}, this program knows {known[-1].version}: a newer "
                "Pricetime has used it; start that version"
            )
        for migration in known:
            if migration.version > applied:
                await _apply(connection, migration)
        if applied < _LAST_REBUILT:
            await rebuild(connection)


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    log.info("migrating the database: %04d %s", migration.version, migration.name)
    await connection.execute(migration.sql)
    await connection.execute(
        "insert into schema_migrations (version, name) values ($1, $2)", migration.version, migration.name
    )
