"""Taking over: which brokers and journals the matcher refuses, and that it says where the trouble begins."""

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace as replaced
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, StorageType, StreamConfig

import matcher.recovery
from cli.servers import nats_executable
from contracts.commits import encode_commit
from contracts.messages import LevelChanged
from contracts.subjects import JOURNAL, JOURNAL_STREAM, RECORDER_STATUS
from matcher.broker import check_broker
from matcher.recovery import take_over
from matcher.replay import Replay
from runtime.journal import stream_config
from runtime.service import Refused
from runtime.settings import Settings
from tests.support.journals import Journal, random_journal
from tests.support.matchers import Matchers, client_of, raw_journal
from tests.support.servers import NatsServer, remove_stream, start_nats, temporary_folder, wait_until

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def journal() -> Journal:
    return random_journal(seed=3, commits=30, commands_per_commit=5)


# The broker


@pytest.mark.parametrize("setting", ["", "sync_interval: 2m", "sync_interval: 1s"])
async def test_a_server_that_does_not_sync_every_write_is_refused(matchers: Matchers, setting: str) -> None:
    with temporary_folder() as folder:
        server = start_nats_with(folder, setting)
        try:
            matcher = matchers.start(server)
            assert await asyncio.to_thread(matcher.exit_code) == 3
        finally:
            server.stop()
    assert "sync_interval: always" in matcher.output
    assert "Traceback" not in matcher.output


async def test_a_monitoring_address_that_does_not_answer_is_refused(nats_server: NatsServer) -> None:
    async with client_of(nats_server) as client:
        with pytest.raises(Refused, match="PRICETIME_NATS_MONITOR_URL"):
            await check_broker(client.connection, settings_for(nats_server, nats_monitor_url="http://127.0.0.1:1"))


async def test_a_monitoring_address_of_another_server_is_refused(nats_server: NatsServer, tmp_path: Path) -> None:
    other = start_nats(tmp_path)
    try:
        async with client_of(nats_server) as client:
            with pytest.raises(Refused, match=f"belongs to nats-server {other.name}"):
                await check_broker(client.connection, settings_for(nats_server, nats_monitor_url=other.monitor_url))
    finally:
        other.stop()


# The stream


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("max_age", {"max_age": 3600.0}),
        ("max_msgs", {"max_msgs": 1000}),
        ("max_bytes", {"max_bytes": 10_000_000}),
        ("discard", {"discard": DiscardPolicy.OLD}),
        ("storage", {"storage": StorageType.MEMORY}),
        ("deny_delete", {"deny_delete": False}),
        ("subjects", {"subjects": [JOURNAL, "more"]}),
    ],
)
async def test_a_stream_that_may_lose_messages_is_refused(
    module_nats_server: NatsServer, setting: str, wrong: dict[str, object]
) -> None:
    config = stream_config(1)
    for name, value in wrong.items():
        setattr(config, name, value)
    async with client_of(module_nats_server) as client:
        await client.connection.jetstream().add_stream(config)
        try:
            with pytest.raises(Refused, match=f"{setting} is .*, must be "):
                await take_over(client.connection, settings_for(module_nats_server), Replay())
        finally:
            await remove_stream(client.connection, JOURNAL_STREAM)


async def test_the_process_says_why_and_exits_with_3(nats_server: NatsServer, matchers: Matchers) -> None:
    config = stream_config(1)
    config.max_msgs = 5
    await write(nats_server, [], config)
    matcher = matchers.start(nats_server)
    assert await asyncio.to_thread(matcher.exit_code) == 3
    assert "refusing to serve: stream JOURNAL cannot be trusted: max_msgs is 5, must be 0" in matcher.output
    assert "Traceback" not in matcher.output


# The journal


async def test_a_sound_journal_is_followed_to_its_end_and_closed_with_a_barrier(
    nats_server: NatsServer, journal: Journal
) -> None:
    await write(nats_server, payloads(journal))
    replay = Replay()
    async with client_of(nats_server) as client:
        await take_over(client.connection, settings_for(nats_server), replay)
        read = await client.journal()
    assert read.replay.chain == replay.chain
    assert read.commits[-1].is_barrier
    assert read.commits[-1].matcher_epoch == 2
    assert replay.chain.sequence == len(journal.written) + 1
    assert replay.engine.state_hash() == journal.engine.state_hash() == read.commits[-1].state_hash


def flipped(journal: Journal) -> list[bytes]:
    damaged = bytearray(journal.written[10].payload)
    damaged[100] ^= 4
    return [*payloads(journal)[:10], bytes(damaged), *payloads(journal)[11:]]


def other_outcome(journal: Journal) -> list[bytes]:
    """A level total changed, and everything after it chained anew, so that only replaying can tell."""
    changed, digest = payloads(journal)[:10], journal.written[9].hash
    for sequence, written in enumerate(journal.written[10:], 11):
        commit = replaced(written.commit, previous_hash=digest)
        if sequence == 11:
            first = commit.outcomes[0]
            levels = (LevelChanged("BTC-USD", first.levels[0].side, 1, 1), *first.levels[1:])
            commit = replaced(commit, outcomes=(replaced(first, levels=levels), *commit.outcomes[1:]))
        payload, digest = encode_commit(commit)
        changed.append(payload)
    return changed


def one_left_out(journal: Journal) -> list[bytes]:
    return payloads(journal)[:10] + payloads(journal)[11:]


def start_cut_off(journal: Journal) -> list[bytes]:
    return payloads(journal)[10:]


def another_journal_from_there(journal: Journal) -> list[bytes]:
    other = random_journal(seed=4, commits=30, commands_per_commit=5)
    return payloads(journal)[:10] + payloads(other)[10:]


def strangers_message(journal: Journal) -> list[bytes]:
    return [*payloads(journal)[:10], b"hello"]


@pytest.mark.parametrize(
    ("damage", "sequence", "why"),
    [
        (flipped, 11, "do not match its hash"),
        (other_outcome, 11, "when replayed"),
        (one_left_out, 11, "says that it is commit 12"),
        (start_cut_off, 1, "says that it is commit 11"),
        (another_journal_from_there, 11, "does not chain"),
        (strangers_message, 11, "do not match its hash"),
    ],
)
async def test_a_journal_that_does_not_fit_is_refused_naming_the_first_sequence(
    nats_server: NatsServer, journal: Journal, damage: "Damage", sequence: int, why: str
) -> None:
    await write(nats_server, damage(journal))
    said = await refusal(nats_server)
    assert said.startswith(f"journal sequence {sequence}: ")
    assert why in said


async def test_without_a_snapshot_a_purged_start_is_waited_for_and_named(
    nats_server: NatsServer, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Postgres has it: nobody serves before the recorder has answered."""
    await write(nats_server, payloads(journal))
    async with client_of(nats_server) as client:
        await client.connection.jsm().purge_stream(JOURNAL_STREAM, seq=6)
        taking_over = asyncio.create_task(take_over(client.connection, settings_for(nats_server), Replay()))
        await asyncio.to_thread(wait_until, lambda: "commits 1 to 5 are trimmed from the journal" in caplog.text)
        assert not taking_over.done()
        taking_over.cancel()
        await asyncio.wait([taking_over])
        assert len(await raw_journal(client.connection)) == len(journal.written) - 5


async def test_a_purge_of_everything_is_named(nats_server: NatsServer, journal: Journal) -> None:
    await write(nats_server, payloads(journal))
    async with client_of(nats_server) as client:
        await client.connection.jsm().purge_stream(JOURNAL_STREAM)
    assert (await refusal(nats_server)).startswith("journal sequence 1: is missing")


async def test_the_process_names_the_sequence_that_differs(
    nats_server: NatsServer, journal: Journal, matchers: Matchers
) -> None:
    await write(nats_server, other_outcome(journal))
    matcher = matchers.start(nats_server)
    assert await asyncio.to_thread(matcher.exit_code) == 3
    assert "refusing to serve: journal sequence 11: command 1" in matcher.output
    assert "Traceback" not in matcher.output


# What Postgres remembers of the journal


async def answer_as_recorder(connection: Client, sequence: int, digest: bytes) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(json.dumps({"sequence": sequence, "hash": digest.hex()}).encode())

    await connection.subscribe(RECORDER_STATUS, cb=answer)


async def test_a_journal_that_ends_before_what_postgres_holds_is_refused(
    nats_server: NatsServer, journal: Journal
) -> None:
    await write(nats_server, payloads(journal)[:20])
    async with client_of(nats_server) as recorder:
        await answer_as_recorder(recorder.connection, 25, journal.written[24].hash)
        said = await refusal(nats_server, recorder_wait_seconds=5)
    assert said.startswith("journal sequence 21: is missing: the journal ends at 20, but Postgres holds")


async def test_a_deleted_journal_is_not_begun_anew_over_what_postgres_holds(
    nats_server: NatsServer, journal: Journal
) -> None:
    await write(nats_server, [])
    async with client_of(nats_server) as recorder:
        await answer_as_recorder(recorder.connection, 25, journal.written[24].hash)
        assert (await refusal(nats_server, recorder_wait_seconds=5)).startswith("journal sequence 1: is missing")


async def test_another_history_than_postgres_holds_is_refused(nats_server: NatsServer, journal: Journal) -> None:
    await write(nats_server, payloads(journal))
    async with client_of(nats_server) as recorder:
        await answer_as_recorder(recorder.connection, 25, bytes(32))
        said = await refusal(nats_server, recorder_wait_seconds=5)
    assert said.startswith("journal sequence 25: is not the commit that Postgres holds")


@pytest.mark.parametrize("behind", [0, 5])
async def test_what_postgres_holds_may_be_behind(nats_server: NatsServer, journal: Journal, behind: int) -> None:
    await write(nats_server, payloads(journal))
    last = journal.written[-1 - behind]
    async with client_of(nats_server) as recorder, client_of(nats_server) as client:
        await answer_as_recorder(recorder.connection, last.commit.sequence, last.hash)
        await take_over(client.connection, settings_for(nats_server, recorder_wait_seconds=5), Replay())


async def test_a_long_replay_shows_how_far_it_is(
    nats_server: NatsServer, journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(matcher.recovery, "_PROGRESS_SECONDS", 0)
    await write(nats_server, payloads(journal))
    with caplog.at_level(logging.INFO):
        async with client_of(nats_server) as client:
            await take_over(client.connection, settings_for(nats_server), Replay())
    end = len(journal.written)
    assert f"replayed {end} of {end} commits (100 %)" in caplog.text


# Helpers

Damage = Callable[[Journal], list[bytes]]


def settings_for(server: NatsServer, **given: object) -> Settings:
    settings = Settings(nats_url=server.url, nats_monitor_url=server.monitor_url, recorder_wait_seconds=0)
    return replaced(settings, **given)


async def refusal(server: NatsServer, **given: object) -> str:
    """Why a matcher that starts now will not serve. It must leave the journal as it is."""
    async with client_of(server) as client:
        before = await raw_journal(client.connection)
        with pytest.raises(Refused) as caught:
            await take_over(client.connection, settings_for(server, **given), Replay())
        assert await raw_journal(client.connection) == before
    return str(caught.value)


async def write(server: NatsServer, messages: list[bytes], config: StreamConfig | None = None) -> None:
    """A journal of these messages, without any fence."""
    async with client_of(server) as client:
        stream = client.connection.jetstream()
        await stream.add_stream(config or stream_config(1))
        for message in messages:
            await stream.publish(JOURNAL, message)


def payloads(journal: Journal) -> list[bytes]:
    return [written.payload for written in journal.written]


def start_nats_with(folder: Path, syncing: str) -> NatsServer:
    """A nats-server whose jetstream block says this about syncing."""
    server = start_nats(folder)
    server.stop()
    plan = server.plan
    configuration = folder / "nats.conf"
    configuration.write_text(
        f'server_name: "{plan.name}"\nlisten: "{plan.host}:{plan.port}"\nhttp: "127.0.0.1:{plan.monitor_port}"\n'
        f'jetstream {{\n store_dir: "{plan.store}"\n {syncing}\n}}\n'
    )
    server.program = dataclasses.replace(server.program, command=(nats_executable(), "-c", str(configuration)))
    server.start()
    return server
