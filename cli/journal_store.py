"""A new store of nats-server, made beside the old one: all that was in that but the journal, and a journal of its own.

While it is being made nothing is synced, which is many times faster; all of it is before it takes the old one's place.
"""

import asyncio
import ctypes
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from cli.errors import CommandError
from cli.private_servers import running
from cli.processes import Program
from cli.servers import NatsPlan, nats_executable, nats_plan
from cli.stream_files import journal_folders, remove_unfinished
from contracts.subjects import JOURNAL
from runtime.files import sync_folder
from runtime.journal import ensure_stream, journal_state

_WINDOW = 500
_PATIENCE_SECONDS = 60
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class JournalStore:
    """`being_made`, `append` each commit in order, `written`; after that block, `take_its_place`."""

    def __init__(self, data: Path) -> None:
        self._store = data / "nats"
        self._fresh = data / "nats.rebuilt"
        self._log = data / "logs" / "nats.log"
        self._connection: Client
        self._inbox = ""
        self._sent = self._acknowledged = 0
        self._refused = ""
        self._room = asyncio.Event()

    @asynccontextmanager
    async def being_made(self) -> AsyncIterator["JournalStore"]:
        self._copy_the_rest()
        password = secrets.token_hex(16)
        plan = nats_plan(self._fresh)
        configuration = self._fresh.with_name("nats.rebuilt.conf")
        _write_configuration(configuration, plan, password)
        program = Program(name="nats", command=(nats_executable(), "-c", str(configuration)))
        url = plan.url.replace("://", f"://rebuild:{password}@")
        try:
            async with running(program, self._log, lambda: _is_well(url)):
                await self._connect(url)
                try:
                    yield self
                finally:
                    await self._connection.close()
        except BaseException:
            shutil.rmtree(self._fresh, ignore_errors=True)
            raise
        finally:
            configuration.unlink()

    async def append(self, sequence: int, payload: bytes) -> None:
        """Returns when there is room for more; whether it was stored is told by `written`."""
        await self._connection.publish(JOURNAL, payload, reply=f"{self._inbox}.{sequence}")
        self._sent = sequence
        await self._until(sequence - _WINDOW)

    async def written(self) -> None:
        """Return once all of it is stored, each commit as its own sequence."""
        await self._until(self._sent)
        state = await journal_state(self._connection)
        if (state.first_seq, state.last_seq, state.messages) != (1, self._sent, self._sent):
            raise CommandError(f"nats-server stored {state.messages} of {self._sent} commits: nothing was changed")

    def take_its_place(self, moment: str) -> Path:
        """Sync it, and exchange it for the old one. Returns where that is now."""
        _sync(self._fresh)
        kept = self._store.with_name(f"nats-before-{moment}")
        if self._store.exists():
            _exchange(self._fresh, self._store)
            self._fresh.rename(kept)
        else:
            self._fresh.rename(self._store)
        sync_folder(self._store.parent)
        return kept

    def _copy_the_rest(self) -> None:
        """API keys, deferred commands and their results stay as they are."""
        shutil.rmtree(self._fresh, ignore_errors=True)
        journals = {str(folder) for folder in journal_folders([self._store])}
        if self._store.exists():
            shutil.copytree(
                self._store,
                self._fresh,
                ignore=lambda folder, names: [name for name in names if os.path.join(folder, name) in journals],
            )
        self._fresh.mkdir(mode=0o700, exist_ok=True)
        remove_unfinished(self._fresh)

    async def _connect(self, url: str) -> None:
        self._connection = await nats.connect(url, pending_size=16 * 1024 * 1024)
        await ensure_stream(self._connection, 1)
        self._inbox = self._connection.new_inbox()
        await self._connection.subscribe(f"{self._inbox}.*", cb=self._on_acknowledgement)

    async def _until(self, sequence: int) -> None:
        while self._acknowledged < sequence and not self._refused:
            self._room.clear()
            try:
                await asyncio.wait_for(self._room.wait(), _PATIENCE_SECONDS)
            except TimeoutError:
                raise CommandError(
                    f"nats-server stopped storing commits (see {self._log}): is the disk full?"
                ) from None
        if self._refused:
            raise CommandError(f"nats-server refuses a commit: {self._refused}")

    async def _on_acknowledgement(self, message: Msg) -> None:
        answer = json.loads(message.data)
        if answer.get("seq") == int(message.subject.rpartition(".")[2]) == self._acknowledged + 1:
            self._acknowledged += 1
        else:
            self._refused = str(answer)
        self._room.set()


def _write_configuration(path: Path, plan: NatsPlan, password: str) -> None:
    path.unlink(missing_ok=True)
    text = (
        f"server_name: {json.dumps(plan.name)}\nlisten: {json.dumps(f'{plan.host}:{plan.port}')}\nmax_payload: 8MB\n"
        f"jetstream {{ store_dir: {json.dumps(str(plan.store))}, max_file_store: 100TB }}\n"
        f"accounts {{ EXCHANGE {{ jetstream: enabled, users: [{{ user: rebuild, password: {password} }}] }} }}\n"
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


async def _is_well(url: str) -> bool:
    try:
        connection = await nats.connect(url, allow_reconnect=False, connect_timeout=2, error_cb=_ignore)
    except (OSError, NatsError, TimeoutError):
        return False
    await connection.close()
    return True


async def _ignore(_: Exception) -> None:
    """It is asked again."""


def _exchange(one: Path, other: Path) -> None:
    """Each takes the other's name, in one step where the system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if hasattr(libc, "renameat2") and libc.renameat2(*arguments) == 0:
        return
    aside = one.with_name(f"{one.name}.old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(folder)
