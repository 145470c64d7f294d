"""REST and streams with TLS: who shows a certificate that is not good is not talked to."""

import http
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from pricetime_client import AsyncExchange, Exchange, NoAnswer
from tests.support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def port(authority: Authority) -> AsyncIterator[int]:
    """One that tells where its streams are, and lets everybody in there."""
    certificate = authority.issue("localhost")
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(certificate.cert, certificate.key)

    def on_request(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/ws":
            return None
        return connection.respond(http.HTTPStatus.OK, json.dumps({"ws_url": "/ws"}))

    async def on_connection(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(on_connection, "127.0.0.1", 0, ssl=shown, process_request=on_request) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_certificate_of_the_authority_that_is_given(port: int, authority: Authority) -> None:
    known = ssl.create_default_context(cafile=authority.file)
    async with AsyncExchange(f"https://localhost:{port}", verify=known) as exchange, exchange.stream() as stream:
        assert stream.state == "live"


async def test_whatever_certificate(port: int) -> None:
    async with AsyncExchange(f"https://localhost:{port}", verify=False) as exchange, exchange.stream() as stream:
        assert stream.state == "live"


@pytest.mark.parametrize("known_to_rest", [False, True])
async def test_a_certificate_of_nobody_we_know(port: int, authority: Authority, known_to_rest: bool) -> None:
    given = f"wss://localhost:{port}/ws" if known_to_rest else None
    async with AsyncExchange(f"https://localhost:{port}", given, patience=0.3) as exchange:
        with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
            async with exchange.stream():
                pass


async def test_a_name_that_is_not_in_it(port: int, authority: Authority) -> None:
    known = ssl.create_default_context(cafile=authority.file)
    async with AsyncExchange(f"https://127.0.0.1:{port}", verify=known, patience=0.0) as exchange:
        with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
            await exchange.config()


def test_the_blocking_client_likewise(authority: Authority) -> None:
    known = ssl.create_default_context(cafile=authority.file)
    with Exchange("https://localhost:1", verify=known) as exchange:
        assert exchange._client._transport._pool._ssl_context is known  # type: ignore[attr-defined]
