"""Keys in a real NATS bucket: known before anybody is served, gone at once when revoked, never open by mistake."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client

from contracts.keys import (
    ID_BYTES,
    OPEN,
    PUBLIC,
    SECRET_BYTES,
    Access,
    KeyRecord,
    KeyRefusal,
    Scope,
    SignedRequest,
    format_key,
    hash_secret,
    sign,
)
from runtime.clock import now
from runtime.connection import close, connect
from runtime.keys import KeyChanged, Keys, KeyStore, check_binding, is_loopback
from runtime.service import Refused
from runtime.settings import Settings
from tests.support.servers import NatsServer, remove_stream

pytestmark = pytest.mark.stack

SECRET = "ab" * SECRET_BYTES
BUCKET = "KV_KEYS"


def record(**fields: Any) -> KeyRecord:
    given = {"id": secrets.token_hex(ID_BYTES), "secret_hash": hash_secret(SECRET), "scopes": (Scope.TRADE,)}
    return KeyRecord(**{**given, "accounts": ("anna",), "created_at": now(), **fields})


def key_of(found: KeyRecord) -> str:
    return format_key(found.id, SECRET)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    connection = await connect(url, "test")
    try:
        yield connection
    finally:
        await close(connection)


@pytest.fixture
async def connection(module_nats_server: NatsServer) -> AsyncIterator[Client]:
    """To a server without any keys."""
    async with connected(module_nats_server.url) as connection:
        await remove_stream(connection, BUCKET)
        yield connection


@asynccontextmanager
async def live_keys(connection: Client, **settings: Any) -> AsyncIterator[Keys]:
    keys = Keys(connection, Settings(**settings))
    await keys.start()
    running = asyncio.create_task(keys.run())
    try:
        yield keys
    finally:
        while not running.done():  # nats-py can swallow a cancelation
            running.cancel()
            await asyncio.wait([running], timeout=0.2)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_the_bucket_is_made_and_kept_on_disk(connection: Client) -> None:
    async with live_keys(connection):
        config = (await connection.jsm().stream_info(BUCKET)).config
        assert (config.storage, config.max_msgs_per_subject) == ("file", 1)
        bucket = await connection.jetstream().key_value("KEYS")
        await bucket.put("not-a-key", b"{}")  # it is a key-value bucket to other tools


async def test_without_keys_everything_is_open_unless_they_are_always_required(connection: Client) -> None:
    async with live_keys(connection) as keys:
        assert (keys.any_exist, keys.required, keys.anonymous) == (False, False, OPEN)
        assert keys.is_good(OPEN)
    async with live_keys(connection, require_keys="always") as keys:
        assert (keys.any_exist, keys.required, keys.anonymous) == (False, True, PUBLIC)
        assert not keys.is_good(OPEN)
        assert keys.is_good(PUBLIC)


async def test_a_key_works_and_ends_at_once_everywhere(connection: Client, module_nats_server: NatsServer) -> None:
    async with connected(module_nats_server.url) as other, live_keys(connection) as here, live_keys(other) as there:
        store, made = KeyStore(other), record()
        await store.write(made)
        await until(lambda: here.required and there.required, 1)  # told, not found by looking
        assert (here.anonymous, here.is_good(OPEN)) == (PUBLIC, False)
        access = Access(frozenset({Scope.TRADE}), ("anna",), made.id)
        assert here.find(key_of(made)) == there.find(key_of(made)) == access
        assert here.is_good(access)
        [stored] = await store.all()
        await store.write(made.revoked(now()), after=stored.sequence)
        await until(lambda: here.find(key_of(made)) is KeyRefusal.REVOKED, 1)
        await until(lambda: not there.is_good(access), 1)


async def test_listeners_hear_of_each_change(connection: Client) -> None:
    async with live_keys(connection) as keys:
        heard: list[bool] = []
        keys.listeners.append(lambda: heard.append(keys.any_exist))
        await KeyStore(connection).write(record())
        await until(lambda: True in heard, 1)


async def test_what_is_no_key_is_unknown(connection: Client) -> None:
    made = record()
    await KeyStore(connection).write(made)
    async with live_keys(connection) as keys:
        wrong = format_key(made.id, "cd" * SECRET_BYTES)
        other = format_key("0" * 2 * ID_BYTES, SECRET)
        for presented in ("", "pt_", wrong, other, key_of(made) + "0"):
            assert keys.find(presented) is KeyRefusal.UNKNOWN


async def test_a_key_expires_by_itself(connection: Client) -> None:
    time = now()
    made = record(expires_at=time + 1_000_000)
    await KeyStore(connection).write(made)
    clock = [time]
    keys = Keys(connection, Settings(), lambda: clock[0])
    await keys.start()
    access = keys.find(key_of(made))
    assert isinstance(access, Access)
    assert keys.is_good(access)
    clock[0] += 1_000_000
    assert keys.find(key_of(made)) is KeyRefusal.EXPIRED
    assert not keys.is_good(access)


async def test_keys_stay_required_after_the_last_was_revoked_and_after_a_restart(connection: Client) -> None:
    store, made = KeyStore(connection), record()
    async with live_keys(connection) as keys:
        await store.write(made)
        [stored] = await store.all()
        await store.write(made.revoked(now()), after=stored.sequence)
        await until(lambda: keys.find(key_of(made)) is KeyRefusal.REVOKED)
        assert keys.required
    async with live_keys(connection) as keys:
        assert keys.required
        assert keys.anonymous == PUBLIC


async def test_a_running_process_stays_closed_even_when_the_bucket_is_emptied_or_removed(connection: Client) -> None:
    made = record()
    await KeyStore(connection).write(made)
    async with live_keys(connection) as keys:
        await connection.jsm().purge_stream(BUCKET)
        await until(lambda: keys.find(key_of(made)) is KeyRefusal.UNKNOWN)
        assert keys.anonymous == PUBLIC
        await connection.jsm().delete_stream(BUCKET)
        another = record()
        await KeyStore(connection).write(another)
        await until(lambda: isinstance(keys.find(key_of(another)), Access))
        assert keys.anonymous == PUBLIC


async def test_a_bucket_made_anew_is_read_from_its_start(connection: Client) -> None:
    """Its sequences begin again: what was read of the one before must not hide them."""
    before = [record() for _ in range(3)]
    for each in before:
        await KeyStore(connection).write(each)
    async with live_keys(connection) as keys:
        await connection.jsm().delete_stream(BUCKET)
        after = [record() for _ in range(5)]
        for each in after:
            await KeyStore(connection).write(each)
        await until(lambda: all(isinstance(keys.find(key_of(each)), Access) for each in after))
        assert [keys.find(key_of(each)) for each in before] == [KeyRefusal.UNKNOWN] * 3


async def test_an_entry_that_cannot_be_read_gives_no_access_and_opens_nothing(connection: Client) -> None:
    await KeyStore(connection).state()
    key_id = "1" * 2 * ID_BYTES
    await connection.jetstream().publish(f"$KV.KEYS.{key_id}", b"{")
    await connection.jetstream().publish("$KV.KEYS.222222222222", b'{"id": "another"}')
    async with live_keys(connection) as keys:
        assert keys.required
        assert keys.find(format_key(key_id, SECRET)) is KeyRefusal.UNKNOWN


async def test_a_key_deleted_with_another_tool_is_gone(connection: Client) -> None:
    made, other = record(), record()
    for each in (made, other):
        await KeyStore(connection).write(each)
    async with live_keys(connection) as keys:
        assert isinstance(keys.find(key_of(made)), Access)
        await (await connection.jetstream().key_value("KEYS")).delete(made.id)
        await until(lambda: keys.find(key_of(made)) is KeyRefusal.UNKNOWN, 1)
        assert isinstance(keys.find(key_of(other)), Access)


async def test_two_who_write_the_same_key_do_not_undo_each_other(connection: Client) -> None:
    store, made = KeyStore(connection), record()
    await store.write(made)
    with pytest.raises(KeyChanged):
        await store.write(record(id=made.id))
    [stored] = await store.all()
    await store.write(made.revoked(now()), after=stored.sequence)
    with pytest.raises(KeyChanged):
        await store.write(made, after=stored.sequence)
    [stored] = await store.all()
    assert stored.record is not None
    assert stored.record.revoked_at is not None


# While NATS is away


async def test_nobody_is_served_before_the_keys_are_known(nats_server: NatsServer) -> None:
    async with connected(nats_server.url) as connection:
        made = record()
        await KeyStore(connection).write(made)
        nats_server.kill()
        keys = Keys(connection, Settings())
        starting = asyncio.create_task(keys.start())
        await until(lambda: not connection.is_connected)
        await asyncio.sleep(0.5)
        assert not starting.done()
        await asyncio.to_thread(nats_server.start)
        async with asyncio.timeout(20):
            await starting
        assert keys.required
        assert isinstance(keys.find(key_of(made)), Access)


async def test_what_was_known_holds_while_nats_is_away_and_changes_meanwhile_are_found(
    nats_server: NatsServer,
) -> None:
    kept, ended = record(), record()
    async with connected(nats_server.url) as connection:
        store = KeyStore(connection)
        await store.write(kept)
        await store.write(ended)
        async with live_keys(connection) as keys:
            nats_server.kill()
            await until(lambda: not connection.is_connected)
            assert isinstance(keys.find(key_of(kept)), Access)
            assert keys.anonymous == PUBLIC
            await asyncio.to_thread(nats_server.start)
            async with connected(nats_server.url) as other:  # most likely before our own connection is back
                [_, stored] = await KeyStore(other).all()
                await KeyStore(other).write(ended.revoked(now()), after=stored.sequence)
            await until(lambda: keys.find(key_of(ended)) is KeyRefusal.REVOKED)
            assert isinstance(keys.find(key_of(kept)), Access)


# Signatures


def signed(made: KeyRecord, time: int, body: bytes = b"") -> tuple[str, SignedRequest, str]:
    request = SignedRequest(str(time // 1000), "GET", b"/orders", body)
    return made.id, request, sign(made.secret_hash, request)


async def test_a_signature_is_good_once_and_only_for_this_process(connection: Client) -> None:
    made = record(signed_only=True)
    await KeyStore(connection).write(made)
    time = now() // 1000 * 1000  # timestamps are whole milliseconds
    clock = [time]
    keys = Keys(connection, Settings(signature_window_seconds=2), lambda: clock[0])
    await keys.start()
    assert keys.find(key_of(made)) is KeyRefusal.SIGNED_ONLY
    clock[0] += 1_000_000
    first = signed(made, clock[0])
    assert keys.find_signed(*first) == made.access
    assert keys.find_signed(*first) is KeyRefusal.SIGNATURE_REPEATED
    assert keys.find_signed(*signed(made, clock[0], b"another")) == made.access
    assert keys.find_signed(*signed(made, clock[0] - 2_001_000)) is KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW
    # Within the window, but it may have been used with the process before this one
    assert keys.find_signed(*signed(made, time - 1_000)) is KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW
    clock[0] += 2_000_000
    assert keys.find_signed(*first) is KeyRefusal.SIGNATURE_REPEATED
    clock[0] += 1_000
    assert keys.find_signed(*first) is KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW
    assert keys.find_signed("0" * 12, *first[1:]) is KeyRefusal.UNKNOWN


# Where it may be served


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.7", False), ("example.com", False), ("", False), ("::ffff:10.0.0.1", False)],
)  # fmt: skip
def test_what_is_loopback(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


async def test_without_keys_only_this_machine_is_served(connection: Client) -> None:
    with socket.create_server(("0.0.0.0", 0)) as public, socket.create_server(("127.0.0.1", 0)) as local:
        async with live_keys(connection) as keys:
            check_binding(local, Settings(), keys)
            check_binding(public, Settings(published_host="127.0.0.1"), keys)
            check_binding(public, Settings(published_host="127.0.0.1,127.0.0.1"), keys)
            for listener, settings in (
                (public, Settings()),
                (public, Settings(http_host="127.0.0.1")),  # what it was asked to be does not count
                (local, Settings(published_host="0.0.0.0")),
                (local, Settings(published_host="127.0.0.1,0.0.0.0")),  # the second is a proxy's
                (local, Settings(published_host="0.0.0.0,127.0.0.1")),
            ):
                with pytest.raises(Refused, match="pricetime keys create"):
                    check_binding(listener, settings, keys)
        async with live_keys(connection, require_keys="always") as keys:
            check_binding(public, Settings(), keys)
        await KeyStore(connection).write(record())
        async with live_keys(connection) as keys:
            check_binding(public, Settings(), keys)
