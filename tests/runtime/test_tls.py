"""TLS: who is believed and who is not, against real servers; and that nothing falls back to doing without it.

Whatever is wrong with a certificate ends the start with one line that says what: waiting does not mend it.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cli.servers import ServerTls, nats_configuration, nats_plan, nats_program
from runtime.connection import close, connect, dial
from runtime.service import Refused
from runtime.settings import Settings
from runtime.tls import NatsTls, pinned_context, server_context
from tests.support.certificates import Authority, Certificate
from tests.support.servers import NatsServer, temporary_folder

pytestmark = pytest.mark.stack

SECONDS = 60


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder() as made:
        yield made


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Authority:
    return Authority(folder, "stranger")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.issue("127.0.0.1", "localhost")


# The files


def settings(**fields: object) -> Settings:
    return Settings(**fields)  # type: ignore[arg-type]


def test_without_files_there_is_no_tls() -> None:
    assert server_context(settings()) is None


def test_what_cannot_be_served_is_named(folder: Path, ours: Certificate, stranger: Authority) -> None:
    other = stranger.issue("127.0.0.1")
    nonsense = folder / "nonsense.pem"
    nonsense.write_text("nothing")
    for cert, key, why in (
        (ours.cert, None, "PRICETIME_TLS_CERT and PRICETIME_TLS_KEY are two halves"),
        (None, ours.key, "two halves"),
        (str(folder / "missing"), ours.key, "PRICETIME_TLS_CERT .*missing cannot be read: No such file"),
        (ours.cert, str(folder), "PRICETIME_TLS_KEY .* cannot be read: Is a directory"),
        (ours.cert, other.key, "do not go together .KEY_VALUES_MISMATCH"),
        (str(nonsense), ours.key, "do not go together"),
    ):
        with pytest.raises(Refused, match=why) as refused:
            server_context(settings(tls_cert=cert, tls_key=key))
        assert "\n" not in str(refused.value)


def test_a_key_that_everybody_can_read_is_told(ours: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    assert server_context(settings(tls_cert=ours.cert, tls_key=ours.key)) is not None
    assert caplog.records == []
    Path(ours.key).chmod(0o644)
    try:
        server_context(settings(tls_cert=ours.cert, tls_key=ours.key))
    finally:
        Path(ours.key).chmod(0o600)
    assert "can be read by everybody" in caplog.text


def test_nothing_older_than_tls_1_2(ours: Certificate) -> None:
    served = server_context(settings(tls_cert=ours.cert, tls_key=ours.key))
    assert served is not None
    for context in (served, NatsTls(ca=ours.cert).context(), NatsTls(pin=ours.cert).context(), NatsTls().context()):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        (NatsTls(ca="/missing.pem"), "PRICETIME_NATS_TLS_CA /missing.pem cannot be read"),
        (NatsTls(ca=__file__), "PRICETIME_NATS_TLS_CA .* holds no certificates"),
        (NatsTls(pin=__file__), "holds no certificate"),
        (NatsTls(cert="/one.pem"), "two halves"),
    ],
)
def test_what_cannot_be_trusted_is_named(tls: NatsTls, why: str) -> None:
    with pytest.raises(Refused, match=why):
        tls.context()


# nats-server


@contextmanager
def broker(shown: Certificate | None, wanted_of_clients: str | None = None) -> Iterator[NatsServer]:
    """A nats-server that shows this certificate, and may want its clients to show one of the authority `wanted`."""
    with temporary_folder() as data:
        plan = replace(nats_plan(data / "nats"), tls=None if shown is None else _files(shown))
        program = nats_program(plan)
        if shown is not None:
            there = nats_configuration().resolve()
            written = data / "nats.conf"
            secured = "tls" if wanted_of_clients is None else "tls-clients"
            # nats-server takes the path of an include as relative to the file that it is in
            up = "../" * len(data.resolve().parts)
            written.write_text(f"include '{up}{there}/local.conf'\ninclude '{up}{there}/{secured}.conf'\n")
            environment = {**program.environment, "PRICETIME_NATS_TLS_CLIENTS_CA": f'"{wanted_of_clients}"'}
            program = replace(program, command=(program.command[0], "-c", str(written)), environment=environment)
        server = NatsServer(program, data / "nats.log", plan)
        server.start()
        yield server
        server.stop()


def _files(certificate: Certificate) -> ServerTls:
    return ServerTls(Path(certificate.cert), Path(certificate.key))


@pytest.fixture(scope="module")
def server(ours: Certificate) -> Iterator[NatsServer]:
    with broker(ours) as started:
        yield started


async def served(url: str, tls: NatsTls | None = None) -> bool:
    """Whether a service gets through to JetStream there. Raises Refused."""
    async with asyncio.timeout(SECONDS):
        connection = await connect(url, "test", tls=tls)
        try:
            return (await connection.jetstream().account_info()).streams == 0
        finally:
            await close(connection)


async def refused(url: str, tls: NatsTls | None = None) -> str:
    """Why a service does not start: one line."""
    with pytest.raises(Refused) as why:
        await served(url, tls)
    assert "\n" not in str(why.value)
    return str(why.value)


async def test_a_server_of_our_authority_is_believed(server: NatsServer, authority: Authority) -> None:
    assert server.url.startswith("tls://")
    assert await served(server.url, NatsTls(ca=authority.file))
    assert await served(server.url.replace("tls://", "nats://"), NatsTls(ca=authority.file))


async def test_a_server_of_another_authority_is_not(server: NatsServer, stranger: Authority) -> None:
    why = await refused(server.url, NatsTls(ca=stranger.file))
    assert "its certificate is not good: " in why
    assert server.url in why


@pytest.mark.parametrize("scheme", ["tls", "nats"])
async def test_without_a_word_on_authorities_the_machines_are_asked(server: NatsServer, scheme: str) -> None:
    assert "its certificate is not good" in await refused(server.url.replace("tls://", f"{scheme}://"))


async def test_neither_an_expired_one_nor_one_for_another_host(authority: Authority) -> None:
    with broker(authority.issue("127.0.0.1", expired=True)) as late:
        assert "certificate has expired" in await refused(late.url, NatsTls(ca=authority.file))
    with broker(authority.issue("elsewhere.example.com")) as elsewhere:
        why = await refused(elsewhere.url, NatsTls(ca=authority.file))
        assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in why


async def test_a_pinned_certificate_is_believed_under_any_name(authority: Authority, server: NatsServer) -> None:
    elsewhere = authority.issue("elsewhere.example.com")
    with broker(elsewhere) as found:
        assert await served(found.url, NatsTls(pin=elsewhere.cert))
    # of the same authority, whose certificate is in no file that was pinned
    assert "not good" in await refused(server.url, NatsTls(pin=elsewhere.cert))


async def test_a_pin_holds_for_the_certificate_and_not_for_its_chain(chain: str, server: NatsServer) -> None:
    assert "not good" in await refused(server.url, NatsTls(pin=chain))


@pytest.fixture
def chain(folder: Path, authority: Authority, ours: Certificate) -> str:
    """Of another certificate; its authority's, and the server's own, come after it."""
    files = [authority.issue("other.example.com").cert, authority.file, ours.cert]
    written = folder / "chain.pem"
    written.write_text("".join(Path(each).read_text() for each in files))
    return str(written)


async def test_a_server_that_wants_certificates(authority: Authority, stranger: Authority, ours: Certificate) -> None:
    us, them = authority.issue("matcher"), stranger.issue("matcher")
    with broker(ours, authority.file) as strict:
        assert await served(strict.url, NatsTls(ca=authority.file, cert=us.cert, key=us.key))
        assert "it wants a certificate of ours" in await refused(strict.url, NatsTls(ca=authority.file))
        why = await refused(strict.url, NatsTls(ca=authority.file, cert=them.cert, key=them.key))
        assert "it wants a certificate of ours" in why


async def test_without_tls_no_password_is_sent(authority: Authority) -> None:
    """Whoever sits between could say that the server does not do TLS."""
    heard: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"X","version":"2.15.1","headers":true,"max_payload":1000000}\r\n')
        heard.append(await reader.read(1000))
        writer.close()
        await writer.wait_closed()

    async with tcp_server(plain) as port:
        for url, tls in (
            (f"nats://matcher:secret@127.0.0.1:{port}", NatsTls(ca=authority.file)),
            (f"tls://matcher:secret@127.0.0.1:{port}", None),
        ):
            assert f"127.0.0.1:{port}: it does not offer TLS" in await refused(url, tls)
            with pytest.raises(Exception, match="does not offer TLS"):
                await dial(url, tls, allow_reconnect=False, max_reconnect_attempts=1)
    assert b"".join(heard) == b""


async def test_who_does_not_stay_is_told_at_once(server: NatsServer, stranger: Authority) -> None:
    """nats-py itself would try without end."""
    async with asyncio.timeout(SECONDS):
        with pytest.raises(Refused, match="its certificate is not good"):
            await dial(server.url, NatsTls(ca=stranger.file), max_reconnect_attempts=1)


async def test_a_connection_comes_back_over_tls(ours: Certificate, authority: Authority) -> None:
    with broker(ours) as restarted:
        connection = await connect(restarted.url, "test", tls=NatsTls(ca=authority.file))
        restarted.kill()
        restarted.start()
        async with asyncio.timeout(SECONDS):
            while not connection.is_connected or connection.stats["reconnects"] == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await connection.jetstream().account_info()).streams == 0
        await close(connection)


@asynccontextmanager
async def tcp_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]],
) -> AsyncIterator[int]:
    """Each connection is served to its end."""
    serving: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)


def test_a_pinned_context_asks_for_no_name(ours: Certificate) -> None:
    context = pinned_context(ours.cert)
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)


def test_nobody_is_told_of_what_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("asyncio").warning("returning true from eof_received() has no effect when using ssl")
    logging.getLogger("asyncio").warning("something else")
    assert [record.message for record in caplog.records] == ["something else"]
