"""`pricetime up` with TLS, as one runs it; and that what it writes is for its owner's eyes."""

import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets.sync.client

from runtime.healthcheck import CHECKS, Unwell, check
from runtime.settings import Settings
from tests.support.certificates import Authority, Certificate
from tests.support.servers import temporary_folder, wait_until
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

ORDER = {"side": "buy", "price": "100.00", "quantity": "1"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with temporary_folder() as made:
        yield made


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def shown(authority: Authority) -> Certificate:
    """For a name of its own and not for 127.0.0.1, at which the parts reach one another."""
    return authority.issue("localhost")


@pytest.fixture(scope="module")
def secure(shown: Certificate) -> Iterator[Stack]:
    with running_stack(options=("--tls-cert", shown.cert, "--tls-key", shown.key, "--nats-tls")) as stack:
        yield stack


def pricetime(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRICETIME_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_every_port_speaks_tls_and_the_command_line_knows(secure: Stack, authority: Authority) -> None:
    assert [each.split("://")[0] for each in (secure.http, secure.ws, secure.nats)] == ["https", "wss", "tls"]
    trusted = ssl.create_default_context(cafile=authority.file)
    http, ws = (each.replace("127.0.0.1", "localhost") for each in (secure.http, secure.ws))
    with httpx.Client(base_url=http, verify=trusted, trust_env=False) as client:
        assert client.post("/orders", json=ORDER).status_code == 201
        deferred = client.post("/orders", json=ORDER, headers={"prefer": "respond-async"})
        place = deferred.headers["location"]
        assert wait_until(lambda: client.get(place).json()["status"] == "completed")
    with websockets.sync.client.connect(f"{ws}/ws", ssl=trusted, proxy=None) as client:
        client.send('{"op":"ping"}')
        assert json.loads(client.recv())["type"] == "pong"
    for arguments in (("verify",), ("keys", "list"), ("nats-users", "add", "anna"), ("nats-users", "remove", "anna")):
        done = pricetime(*arguments, "--data", str(secure.data))
        assert (done.returncode, done.stderr) == (0, ""), done


def test_what_it_writes_is_for_its_owner_alone(secure: Stack) -> None:
    """Of the folders above Postgres's others may pass through, as its user must: they see no names there."""
    assert {each.name for each in secure.data.iterdir()} >= {
        "run.json",
        "nats-users",
        "postgres.password",
        "nats",
        "logs",
    }
    for path in secure.data.iterdir():
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path}: {mode:o}"
    assert stat.S_IMODE(secure.data.stat().st_mode) & 0o066 == 0
    for path in (secure.data / "nats-users").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_secret_is_in_a_command_line_or_a_log(secure: Stack) -> None:
    """Both are there for more eyes: everybody's, and those of whoever is shown a log."""
    passwords = json.loads((secure.data / "nats-users" / "passwords.json").read_text()).values()
    secrets = {*passwords, (secure.data / "postgres.password").read_text().strip()}
    assert len(secrets) > 5
    shown = " ".join(" ".join(each.cmdline()) for each in secure.processes())
    shown += "".join(each.read_text(errors="replace") for each in (secure.data / "logs").iterdir()) + secure.output
    assert [each for each in secrets if each in shown] == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--nats-tls",), "--nats-tls needs a certificate: give --tls-cert FILE and --tls-key FILE"),
        (("--tls-cert", "{cert}"), "--tls-cert and --tls-key are two halves: give both, or neither"),
        (("--tls-cert", "{cert}", "--tls-key", "/missing.key"), "/missing.key cannot be read: No such file"),
        (("--tls-cert", "{cert}", "--tls-key", "{cert}"), "do not go together"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(
    options: tuple[str, ...], why: str, shown: Certificate, tmp_path: Path
) -> None:
    given = [each.format(cert=shown.cert) for each in options]
    done = pricetime("up", "--data", str(tmp_path / "data"), *given)
    assert done.returncode == 2
    assert done.stderr.startswith("pricetime: ")
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("service", CHECKS)
async def test_health_checks_of_containers_know_tls(service: str, secure: Stack, shown: Certificate) -> None:
    port = int(secure.http.rsplit(":", 1)[1])
    settings = Settings(nats_url=secure.nats, nats_tls_pin=shown.cert, tls_cert=shown.cert, http_port=port)
    assert await check(service, settings)


async def test_and_believe_nobody_else(secure: Stack, folder: Path) -> None:
    other = Authority(folder, "other").issue("localhost")
    port = int(secure.http.rsplit(":", 1)[1])
    settings = Settings(nats_url=secure.nats, nats_tls_pin=other.cert, tls_cert=other.cert, http_port=port)
    for service in CHECKS:
        with pytest.raises(Unwell, match="no answer"):
            await check(service, settings)
