"""`pricetime rebuild journal|postgres`: one of the two is made anew, from all that is left of both.

On a stack that is stopped; what it needs is started for itself, on ports of its own. The new one is made beside the old
one and takes its place at the end, in one step; the old one is kept under another name. So it can be interrupted at any
moment, and run again.
"""

import argparse
import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from cli.broker_users import adopt_journal
from cli.errors import CommandError
from cli.journal_store import JournalStore
from cli.known_commits import InPostgres, KnownCommits, OnDisk, Source
from cli.postgres_databases import Databases, databases
from cli.runfile import run_file_path
from cli.servers import nats_nodes_of
from cli.stream_files import SavedCommits, journal_folders
from cli.up import only_one, say
from matcher.snapshots import snapshot_files
from recorder.runs import Run
from recorder.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("journal", "postgres"), help="what to make anew")
    parser.add_argument(
        "--data", type=Path, default=Path(".pricetime"), metavar="DIR", help="the folder of the stopped stack"
    )
    parser.epilog = (
        "Stop the exchange first. What there was is kept beside it. Exits 0 when every commit is there again, 1 when "
        "some could not be had, which it names."
    )


def run(arguments: argparse.Namespace) -> int:
    data = arguments.data.absolute()
    if not any((data / name).exists() for name in ("lock", "nats", "postgres")):  # a backup has not all of them
        raise CommandError(f"there is no exchange in {arguments.data}; give its folder with --data DIR")
    with only_one(data):
        run_file_path(data).unlink(missing_ok=True)
        adopt_journal(data / "nats")
        rebuild = _journal if arguments.what == "journal" else _postgres
        return 0 if asyncio.run(rebuild(data, datetime.now(UTC).strftime("%Y%m%d-%H%M%S"))) else 1


async def _journal(data: Path, moment: str) -> bool:
    """True when nothing that anything is left of is missing."""
    if (nats_nodes_of(data) or 1) > 1:
        raise CommandError(
            "this is the data of a cluster: put the damaged node's folder nats-N aside and start the exchange, and the "
            "other two fill it again. When two are damaged: docs/operations.md, A NATS cluster"
        )
    async with AsyncExitStack() as open_until_done:
        postgres = await open_until_done.enter_async_context(databases(data, say))
        known = await _known(data, postgres, postgres_first=True)
        store = await open_until_done.enter_async_context(JournalStore(data).being_made())
        async for each in known.all():
            await store.append(each.commit.sequence, each.payload)
        await store.written()
        _refuse_less_than(postgres.recorded, known)
    kept = store.take_its_place(moment)
    say(f"The journal is made anew: {_told(known)}. The old one is {kept}.")
    fit = _snapshots_fit(data, known.chain.sequence)
    return _all_there(known) and fit


async def _postgres(data: Path, moment: str) -> bool:
    async with databases(data, say, set_aside_as=f"postgres-before-{moment}") as postgres:
        known = await _known(data, postgres, postgres_first=False)
        await postgres.create_new()
        store = Store(postgres.new_url)
        try:
            await _record(known, store)
        finally:
            store.close()
        _refuse_less_than(postgres.recorded, known)
        kept = await postgres.swap(moment)
    say(f"Postgres is made anew: {_told(known)}. {kept}")
    return _all_there(known)


async def _known(data: Path, postgres: Databases, *, postgres_first: bool) -> KnownCommits:
    nodes = nats_nodes_of(data) or 1
    stores = [data / "nats"] if nodes == 1 else [data / f"nats-{number}" for number in range(1, nodes + 1)]
    say("  looking through nats-server's files ...")
    saved = SavedCommits(journal_folders(stores))
    sources: list[Source] = [OnDisk(saved)]
    if postgres.old is not None:
        sources.insert(0 if postgres_first else 1, InPostgres(postgres.old, postgres.last_commit))
    known = KnownCommits(sources, saved.first)
    if not known.last:
        raise CommandError(
            f"neither Postgres nor nats-server's files in {data} hold a single commit: nothing to make anew"
        )
    say(f"  {known.last} commits are to be proved and written ...")
    return known


async def _record(known: KnownCommits, store: Store) -> None:
    await store.open()
    run = Run()
    async for commit, payload, digest in known.all():
        run.add(commit, payload, digest)
        if run.is_full:
            await store.record(run.fold, run.reached)
            run = Run(run.fold.last_trade_id)
    if not run.is_empty:
        await store.record(run.fold, run.reached)


def _refuse_less_than(recorded: int, known: KnownCommits) -> None:
    """Going on with less than was recorded would give out numbers again; and a gap cannot be bridged."""
    if known.chain.sequence < max(recorded, known.first_on_disk - 1, 1):
        raise CommandError(
            f"nothing was changed: {known.why}, and it is in neither; Postgres was recorded up to {recorded}, and "
            f"nats-server's files begin with {known.first_on_disk}. Bring back a copy of `nats/` or `postgres/` that "
            "has it, and run this again"
        )


def _told(known: KnownCommits) -> str:
    parts = " and ".join(f"{count} from {name}" for name, count in known.taken.items())
    return f"{known.chain.sequence} commits, every hash proved ({parts})"


def _all_there(known: KnownCommits) -> bool:
    if known.last > known.chain.sequence:
        say(
            f"Not to be had: commits {known.chain.sequence + 1} to {known.last}, of which something is left. "
            f"{known.why}. They may have been acknowledged: tell the clients, or bring back a copy that has them"
        )
    return known.last <= known.chain.sequence


def _snapshots_fit(data: Path, last: int) -> bool:
    """A matcher refuses a journal that ends before a snapshot of its state, and rightly so: those are put aside."""
    files = snapshot_files(data / "matcher")
    ahead = [(file, sequence) for file in files.newest_first() if (sequence := files.sequence_of(file) or 0) > last]
    for file, sequence in ahead:
        file.replace(file.with_suffix(".of-lost-commits"))
        say(f"Not to be had: commits {last + 1} to {sequence}; {file}, taken after them, is put aside")
    return not ahead
