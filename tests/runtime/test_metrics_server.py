import asyncio
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from runtime import metrics
from runtime.metrics import Measure
from runtime.metrics_server import exposing
from runtime.service import Refused
from runtime.settings import Settings


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def settings_on(listener: socket.socket, folder: Path) -> tuple[Settings, str]:
    """The settings of a service that inherits the socket, and the address of its metrics."""
    port = listener.getsockname()[1]
    settings = Settings(metrics_fd=listener.detach(), data_dir=str(folder))
    return settings, f"http://127.0.0.1:{port}"


async def test_it_shows_what_its_sources_say_when_asked_and_what_is_known_of_any_process(tmp_path: Path) -> None:
    settings, url = settings_on(listening(), tmp_path)
    orders = 0
    async with exposing(settings, "gateway") as shown, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        shown.add(lambda: [metrics.BROADCASTER_ORDERS.of(orders)])
        for orders in (5, 7):
            answer = await client.get("/metrics")
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/plain")
            assert f"\npricetime_open_orders {orders}.0\n" in answer.text
        assert re.search(r'^pricetime_info\{service="gateway",version=".+"\} 1\.0$', answer.text, re.MULTILINE)
        assert re.search(r"^process_cpu_seconds_total [0-9.e-]+$", answer.text, re.MULTILINE)
        assert re.search(r"^pricetime_data_free_bytes [0-9.e+]+$", answer.text, re.MULTILINE)
        lag = "pricetime_event_loop_lag_seconds_count"
        while not re.search(rf"^{lag} [1-9]", answer.text, re.MULTILINE):
            answer = await client.get("/metrics")


async def test_who_asks_for_openmetrics_gets_that(tmp_path: Path) -> None:
    settings, url = settings_on(listening(), tmp_path)
    async with exposing(settings, "gateway"), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")


async def test_there_is_one_page_to_be_read(tmp_path: Path) -> None:
    settings, url = settings_on(listening(), tmp_path)
    async with exposing(settings, "gateway"), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/metrics?name=x")).status_code == 200
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405


async def test_a_source_that_fails_is_logged_and_nothing_else_suffers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, url = settings_on(listening(), tmp_path)

    def broken() -> Iterable[Measure]:
        raise ValueError("out of order")

    async with exposing(settings, "gateway") as shown, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        shown.add(broken)
        answer = await client.get("/metrics")
        assert answer.status_code == 500
        assert "out of order" not in answer.text
        assert "out of order" in caplog.text
        shown.sources.remove(broken)
        assert (await client.get("/metrics")).status_code == 200


async def test_who_never_ends_a_request_or_sends_too_much_is_cut_off(tmp_path: Path) -> None:
    settings, url = settings_on(listening(), tmp_path)
    port = int(url.rpartition(":")[2])
    async with exposing(settings, "gateway"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 100_000)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        _, waiting = await asyncio.open_connection("127.0.0.1", port)
        waiting.write(b"GET /met")
        await waiting.drain()
    waiting.close()  # and the service did not wait for it to end


async def test_nobody_listens_unless_that_is_wanted() -> None:
    async with exposing(Settings(), "gateway") as shown:
        shown.add(lambda: pytest.fail("nobody has asked"))
        assert not shown.is_on


async def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with listening() as taken:
        settings = Settings(metrics_port=taken.getsockname()[1])
        with pytest.raises(Refused, match="Address already in use"):
            async with exposing(settings, "gateway"):
                pass
