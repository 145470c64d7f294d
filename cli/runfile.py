"""DIR/run.json: where a running stack can be reached, for programs. It is there only while the stack runs."""

import os
import ssl
from pathlib import Path

import msgspec

from cli.errors import CommandError
from runtime.tls import NatsTls, pinned_context

DATA = Path(".pricetime")
"""Where an exchange keeps its data if nobody says otherwise."""
DEMO_DATA = Path(".pricetime-demo")


class NotRunning(CommandError):
    """There may be an exchange's data in the folder, but nothing runs on it."""


class RunFile(msgspec.Struct, frozen=True, omit_defaults=True):
    http: str
    ws: str
    nats: str
    postgres: str
    pids: dict[str, int]
    ready: bool = False
    """In the file, and true, while orders can be placed."""
    certificate: str | None = None
    """The file of the one that it shows, where it is served with TLS: https, wss, and NATS if that begins with tls."""
    metrics: dict[str, str] = {}
    """Where each service shows what it measures, if that is wanted."""

    @property
    def nats_tls(self) -> NatsTls:
        return NatsTls(pin=self.certificate if self.nats.startswith("tls://") else None)

    @property
    def https(self) -> ssl.SSLContext | bool:
        """What httpx is to verify. Raises Refused when the certificate is not there any more."""
        return True if self.certificate is None else pinned_context(self.certificate)


def run_file_path(data: Path) -> Path:
    return data / "run.json"


def write_run_file(data: Path, content: RunFile) -> None:
    """Whole or not at all, and for its owner only: it holds the password of Postgres."""
    path = run_file_path(data)
    fresh = path.with_name("run.json.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    fresh.replace(path)


def meant_folder(data: Path) -> Path:
    """Where nobody said which and only a demo runs, the demo's is meant."""
    only_demo = data == DATA and run_file_path(DEMO_DATA).exists() and not run_file_path(DATA).exists()
    return DEMO_DATA if only_demo else data


def read_run_file(data: Path) -> RunFile:
    """Raises CommandError, in one line, when no stack runs there."""
    data = meant_folder(data)
    try:
        return msgspec.json.decode(run_file_path(data).read_bytes(), type=RunFile)
    except FileNotFoundError as error:
        raise NotRunning(f"no exchange runs on {data}; start it with `pricetime up --data {data}`") from error
    except (OSError, msgspec.MsgspecError) as error:
        raise CommandError(f"cannot read {run_file_path(data)}: {error}") from error


def running_exchange(data: Path) -> RunFile:
    """The same, and raises CommandError also when `pricetime up` was killed, and has left the file behind."""
    running, data = read_run_file(data), meant_folder(data)
    if _is_left_over(data):
        raise NotRunning(
            f"the exchange on {data} was killed, and nothing runs there now; start it again with "
            f"`pricetime up --data {data}`"
        )
    return running


def _is_left_over(data: Path) -> bool:
    """Whether the process that holds the folder (cli.up.only_one) is gone."""
    try:
        os.kill(int((data / "lock").read_text()), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False


def remove_run_file(data: Path) -> None:
    run_file_path(data).unlink(missing_ok=True)
