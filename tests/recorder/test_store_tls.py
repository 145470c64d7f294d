"""Postgres over TLS, as the address says: the recorder and the gateway's history believe whom they are told to."""

import asyncio
from pathlib import Path

import pytest

from gateway.history import open_pool
from recorder.store import Store
from runtime.service import Refused
from tests.support.certificates import Authority
from tests.support.gateways import running_gateway
from tests.support.secure_postgres import secure_postgres
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack

SECONDS = 60


async def opened(url: str) -> int:
    """The recorder's position there. Raises Refused."""
    store = Store(url)
    try:
        async with asyncio.timeout(SECONDS):
            await store.open()
        return store.position.sequence
    finally:
        store.close()


def verified(url: str, authority: str) -> str:
    return f"{url}?sslmode=verify-full&sslrootcert={authority}"


async def test_a_postgres_of_our_authority_is_used(database: str, tmp_path: Path, nats_server: NatsServer) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    async with secure_postgres(database, authority.issue("127.0.0.1")) as postgres:
        assert await opened(verified(postgres.url, authority.file)) == 0
        assert postgres.secured > 0
        async with running_gateway(nats_server.url, verified(postgres.url, authority.file)) as gateway:
            read = (await gateway.http.get("/orders")).json()
            assert (read["code"], "is at 0" in read["detail"]) == ("reads_behind", True)  # so it was read
        async with running_gateway(nats_server.url, verified(postgres.url, stranger.file)) as gateway:
            assert (await gateway.http.get("/orders")).json()["code"] == "history_unavailable"
            assert (await gateway.place()).status_code == 201


async def test_who_cannot_prove_to_be_it_is_refused_in_one_line(database: str, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    for shown, trusted, why in (
        (authority.issue("127.0.0.1"), stranger.file, "its certificate is not good"),
        (authority.issue("127.0.0.1", expired=True), authority.file, "certificate has expired"),
        (authority.issue("elsewhere.example.com"), authority.file, "not valid for '127.0.0.1'"),
    ):
        async with secure_postgres(database, shown) as postgres:
            with pytest.raises(Refused, match=why) as refused:
                await opened(verified(postgres.url, trusted))
        assert "\n" not in str(refused.value)
        assert "PRICETIME_POSTGRES_URL" in str(refused.value)


async def test_nothing_is_said_to_one_without_tls(database: str, tmp_path: Path) -> None:
    """It is waited for, as one that is away: neither recorder nor gateway go on in plain text."""
    authority = Authority(tmp_path)
    async with secure_postgres(database, None) as postgres:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await opened(verified(postgres.url, authority.file))
        pool = await open_pool(verified(postgres.url, authority.file))
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            await pool.fetch("select 1")
        await pool.close()
    assert len(postgres.plain) > 1
    assert b"".join(postgres.plain) == b""
