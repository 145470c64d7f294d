"""nats-server and Postgres as the local stack runs them: safe settings, the same data after a restart."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import nats
import pytest
from nats.js.errors import NotFoundError

from cli.errors import CommandError
from cli.servers import free_port, in_url, is_free, listening_socket, prepare_postgres, remove_stale_pid_file
from tests.support.servers import NatsServer, PostgresServer, start_nats, temporary_folder

pytestmark = pytest.mark.stack


async def test_nats_keeps_its_data_and_ports_over_a_kill(nats_server: NatsServer) -> None:
    connection = await nats.connect(nats_server.url)
    await connection.jetstream().add_stream(name="S", subjects=["s"])
    await connection.jetstream().publish("s", b"kept")
    await connection.close()

    nats_server.kill()
    nats_server.start()

    connection = await nats.connect(nats_server.url)
    assert (await connection.jetstream().get_msg("S", 1)).data == b"kept"
    await connection.close()


async def test_two_nats_servers_do_not_meet() -> None:
    with temporary_folder() as folder:
        one, other = start_nats(folder / 'with "space and quote'), start_nats(folder / "other")
        first, second = await nats.connect(one.url), await nats.connect(other.url)
        await first.jetstream().add_stream(name="S", subjects=["s"])
        with pytest.raises(NotFoundError):
            await second.jetstream().stream_info("S")
        await first.close()
        await second.close()
        one.stop()
        other.stop()


async def test_postgres_is_durable_and_asks_for_a_password(postgres: PostgresServer, database: str) -> None:
    connection = await asyncpg.connect(database)
    shown = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit", "TimeZone")}
    await connection.close()
    assert shown == {"fsync": "on", "synchronous_commit": "on", "TimeZone": "UTC"}
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(database.replace(postgres.plan.password, "wrong"))
    password_file = postgres.plan.folder.with_name("postgres.password")
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600


async def test_postgres_keeps_what_was_committed_over_a_kill(postgres: PostgresServer, database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    postgres.kill()
    connection.terminate()

    postgres.start()

    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT value FROM kept") == 7
    await connection.close()


def test_a_pid_file_naming_another_process_is_removed() -> None:
    with temporary_folder() as folder:
        pid_file = folder / "postmaster.pid"
        pid_file.write_text(f"{os.getpid()}\n")
        remove_stale_pid_file(folder)
        assert not pid_file.exists()


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """A data directory that no server uses."""
    with temporary_folder() as folder:
        prepare_postgres(folder / "postgres", sync=False)
        yield folder / "postgres"


def test_data_of_another_user_is_one_line(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.servers.pwd.getpwnam", lambda _: SimpleNamespace(pw_uid=4711))
    monkeypatch.setattr("cli.servers.os.geteuid", lambda: 4711)
    with pytest.raises(CommandError, match="belongs to another user"):
        prepare_postgres(prepared)


def test_data_of_another_postgres_is_one_line(prepared: Path) -> None:
    version = prepared / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(CommandError, match="made by Postgres 17; this is 18"):
        prepare_postgres(prepared)
    version.write_text("18\n")


def test_an_interrupted_set_up_is_made_anew() -> None:
    with temporary_folder() as folder:
        (folder / "postgres.new").mkdir()
        (folder / "postgres.new" / "half").write_text("done")
        plan = prepare_postgres(folder / "postgres", sync=False)
        assert sorted(path.name for path in folder.iterdir()) == ["postgres", "postgres.password"]
        assert not (plan.folder / "half").exists()


def test_a_lost_password_is_one_line(prepared: Path) -> None:
    password = prepared.with_name("postgres.password")
    kept = password.rename(prepared.with_name("kept"))
    with pytest.raises(CommandError, match=r"postgres\.password is missing"):
        prepare_postgres(prepared)
    kept.rename(password)


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        low, high = map(int, file.read().split())
    port = free_port("127.0.0.1")
    assert not low <= port <= high
    with listening_socket("127.0.0.1", port):
        assert not is_free("127.0.0.1", port)


def test_an_ipv6_host_is_bracketed_in_a_url() -> None:
    assert (in_url("::1"), in_url("127.0.0.1")) == ("[::1]", "127.0.0.1")
