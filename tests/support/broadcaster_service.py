"""The broadcaster as a process of its own, on an inherited socket, and clients of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets
from nats.aio.client import Client
from nats.errors import NoRespondersError

ROOT = Path(__file__).parents[2]


@dataclass
class BroadcasterService:
    """Started, stopped, killed and started again on the same port and data."""

    nats_url: str
    folder: Path
    settings: dict[str, object] = field(default_factory=dict)
    """PRICETIME_* variables by their short names."""
    program: tuple[str, ...] = ("-m", "broadcaster")
    listening: socket.socket = field(init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    @property
    def log(self) -> str:
        return (self.folder / "broadcaster.log").read_text()

    @property
    def snapshots(self) -> list[Path]:
        return sorted((self.folder / "broadcaster").glob("*.snapshot"))

    def start(self) -> None:
        environment = {
            **os.environ,
            "PRICETIME_NATS_URL": self.nats_url,
            "PRICETIME_DATA_DIR": str(self.folder),
            "PRICETIME_WS_FD": str(self.listening.fileno()),
            **{f"PRICETIME_{name.upper()}": str(value) for name, value in self.settings.items()},
        }
        with (self.folder / "broadcaster.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program],
                cwd=ROOT,
                env=environment,
                pass_fds=[self.listening.fileno()],
                stderr=log,
            )

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.listening.close()

    def client(self, path: str) -> websockets.connect:
        return websockets.connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None)


async def ask(connection: Client, subject: str, **request: object) -> Any:
    """The answer to a request, waiting for the service to be there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return json.loads((await connection.request(subject, json.dumps(request).encode(), timeout=5)).data)
        except NoRespondersError:
            assert time.monotonic() < deadline, f"nobody answers {subject}"


async def read(client: websockets.ClientConnection, count: int) -> list[Any]:
    return [json.loads(await client.recv()) for _ in range(count)]
