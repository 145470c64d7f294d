"""The gateway as a process: the ways to be given an address, and its end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import nats
import pytest

from cli.servers import nats_executable
from runtime.service import EXIT_REFUSED
from tests.support.gateways import PlayedMatcher
from tests.support.servers import NatsServer, wait_until

pytestmark = pytest.mark.stack

FOLDER = Path(__file__).parents[2]


def start(nats_url: str, log: Path, *, inherited: int | None = None, **settings: object) -> subprocess.Popen[bytes]:
    given = {f"PRICETIME_{name.upper()}": str(value) for name, value in settings.items()}
    fixed = {"PRICETIME_NATS_URL": nats_url, "PRICETIME_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1/none"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            cwd=FOLDER,
            env=os.environ | fixed | given,
            stderr=output,
            pass_fds=() if inherited is None else (inherited,),
        )


def is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_on_an_inherited_socket(module_nats_server: NatsServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fd = listener.fileno()
        process = start(module_nats_server.url, tmp_path / "log", inherited=fd, http_fd=fd)
        assert wait_until(lambda: is_live(url))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()


def test_on_a_host_and_port(module_nats_server: NatsServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(module_nats_server.url, log, http_host="127.0.0.1", http_port=0)
    assert wait_until(lambda: "serving on http://127.0.0.1:" in log.read_text())
    url = log.read_text().split("serving on ")[1].split()[0]
    assert is_live(url)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


async def test_what_is_being_answered_is_answered_before_the_end(
    module_nats_server: NatsServer, tmp_path: Path
) -> None:

    connection = await nats.connect(module_nats_server.url)
    matcher = PlayedMatcher(connection)
    await matcher.start()
    await matcher.go_away()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fd = listener.fileno()
        process = start(module_nats_server.url, tmp_path / "log", inherited=fd, http_fd=fd)
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
            await http.get("/health/live")
            body = {"side": "buy", "price": "1", "quantity": "1"}
            placing = asyncio.create_task(http.post("/orders", json=body))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            await matcher.come_back()
            assert (await placing).status_code == 201
            assert await asyncio.to_thread(process.wait, 60) == 0
    await connection.close()


def test_it_serves_nobody_before_it_knows_the_keys_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    """On a broker without JetStream there is no bucket, so whether there are keys cannot be known."""
    command = [nats_executable(), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as broker:
        try:
            ports, log = tmp_path / f"nats-server_{broker.pid}.ports", tmp_path / "log"
            assert wait_until(lambda: ports.exists() and ports.read_text().endswith("}"))
            url = json.loads(ports.read_text())["nats"][0]
            process = start(url, log, http_host="127.0.0.1", http_port=0)
            assert wait_until(lambda: "keys: cannot be read now" in log.read_text())
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            assert "serving on" not in log.read_text()
        finally:
            broker.terminate()


@pytest.mark.parametrize(
    "settings", [{"http_host": "0.0.0.0"}, {"http_host": "127.0.0.1", "published_host": "10.0.0.1"}]
)
def test_without_keys_it_refuses_to_serve_others(
    module_nats_server: NatsServer, tmp_path: Path, settings: dict[str, object]
) -> None:
    log = tmp_path / "log"
    process = start(module_nats_server.url, log, http_port=0, **settings)
    assert process.wait(30) == EXIT_REFUSED
    assert "refusing to serve" in log.read_text()
    assert "pricetime keys create" in log.read_text()
    assert "serving on" not in log.read_text()
