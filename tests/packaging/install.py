"""`make package-test`: the wheel on a machine that has nothing of ours, in each way that people install it.

    python -m tests.packaging.install [--ways venv,pipx,uvx,client]

Each time: an environment of its own, an empty folder, `pricetime up` on free ports, an order, the page, `pricetime
verify`, and the stop. Needs the package index, and minutes.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

from tests.packaging.wheels import build_wheel

_UP = ("pricetime", "up", "--http-port", "0", "--ws-port", "0", "--nats-port", "0")
_START_SECONDS = 240
"""An environment is made in it, too."""


class Failed(Exception):
    """What did not work, in words."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make package-test")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of {', '.join(WAYS)}")
    ways = parser.parse_args().ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="pricetime-package-") as folder:
        wheel = build_wheel(Path(folder))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        try:
            for way in ways:
                WAYS[way](Path(folder) / way, wheel)
        except Failed as error:
            print(f"package-test: {error}", file=sys.stderr)
            return 1
    return 0


def _by_venv(folder: Path, wheel: Path) -> None:
    programs = _environment(folder / "venv")
    _run(programs, "pip", "install", "--quiet", f"{wheel}[local]")
    _try("pip install", folder, programs, lambda command: command)


def _by_pipx(folder: Path, wheel: Path) -> None:
    programs = _environment(folder / "venv")
    _run(programs, "pip", "install", "--quiet", "pipx")
    _try("pipx run", folder, programs, lambda command: ["pipx", "run", "--spec", f"{wheel}[local]", *command])


def _by_uvx(folder: Path, wheel: Path) -> None:
    programs = _environment(folder / "venv")
    _run(programs, "pip", "install", "--quiet", "uv")
    _try("uvx", folder, programs, lambda command: ["uvx", "--quiet", "--from", f"{wheel}[local]", *command])


def _client_only(folder: Path, wheel: Path) -> None:
    """The client in an environment without servers: it needs three packages, and says what it is."""
    programs = _environment(folder / "venv")
    _run(programs, "pip", "install", "--quiet", "--no-deps", str(wheel))
    _run(programs, "pip", "install", "--quiet", "httpx", "websockets", "msgspec")
    _run(programs, "python", "-c", "import pricetime_client; pricetime_client.Exchange")
    print("client: imported with httpx, websockets and msgspec alone", flush=True)


WAYS: Mapping[str, Callable[[Path, Path], None]] = {
    "venv": _by_venv,
    "pipx": _by_pipx,
    "uvx": _by_uvx,
    "client": _client_only,
}


def _environment(folder: Path) -> Path:
    """Where its programs are."""
    venv.create(folder, with_pip=True)
    return folder / "bin"


def _try(way: str, folder: Path, programs: Path, of: Callable[[Sequence[str]], Sequence[str]]) -> None:
    work = folder / "empty"
    work.mkdir(parents=True)
    started = time.monotonic()
    log = folder / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(of(_UP), cwd=work, env=_environ(programs), stdout=output, stderr=output)
    try:
        http = _ready(work / ".pricetime/run.json", up, log)
        print(f"{way}: ready after {time.monotonic() - started:.0f} s", flush=True)
        _trade(http)
        _run(programs, *of(("pricetime", "verify")), cwd=work)
    finally:
        up.send_signal(signal.SIGINT)
        code = up.wait(60)
    if code:
        raise Failed(f"{way}: pricetime up ended with {code}: {log.read_text()[-500:]}")
    print(f"{way}: an order, a trade, the page, verified, stopped", flush=True)


def _ready(run_file: Path, up: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if up.poll() is not None:
            break
        found = json.loads(run_file.read_text()) if run_file.exists() else {}
        if found.get("ready"):
            return str(found["http"])
        time.sleep(0.2)
    raise Failed(f"pricetime up does not serve: {log.read_text()[-1_000:]}")


def _trade(http: str) -> None:
    with httpx.Client(base_url=http, trust_env=False, timeout=10) as client:
        for side in ("sell", "buy"):
            answer = client.post("/orders", json={"side": side, "price": "100.00", "quantity": "1"})
            if answer.status_code not in (200, 201):
                raise Failed(f"an order was answered {answer.status_code} {answer.text}")
        if len(client.get("/trades").json()["items"]) != 1:
            raise Failed("the trade is not in the history")
        for page in ("/", "/docs", "/config.json"):
            if client.get(page).status_code != 200:
                raise Failed(f"GET {page}: {client.get(page).status_code}")


def _environ(programs: Path) -> dict[str, str]:
    """Of a machine that knows nothing of this repository."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PRICETIME", "VIRTUAL"))
    }
    return {**kept, "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "PIPX_HOME": str(programs.parent / "pipx")}


def _run(programs: Path, *command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd or programs, env=_environ(programs), check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {(done.stdout + done.stderr)[-1_500:]}")


if __name__ == "__main__":
    sys.exit(main())
