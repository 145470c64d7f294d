"""`pricetime up`: starts everything, keeps it running, says what is wrong in one line, and leaves nothing behind."""

import json
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from runtime.connection import without_password
from tests.support.servers import temporary_folder, wait_until
from tests.support.stack import PARTS, Stack, running_stack

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """One that the tests of this file may kill parts of."""
    with running_stack() as started:
        yield started


def up(*options: str) -> subprocess.CompletedProcess[str]:
    """A `pricetime up` that is expected to give up at once."""
    command = [sys.executable, "-P", "-m", "cli.main", "up", *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def free_ports(data: Path) -> list[str]:
    return ["--data", str(data), "--http-port", "0", "--ws-port", "0", "--nats-port", "0"]


def place(stack: Stack, side: str, quantity: str, account: str = "up") -> dict[str, object]:
    order = {"side": side, "type": "limit", "price": "100.00", "quantity": quantity, "account": account}
    answer = httpx.post(f"{stack.http}/orders", json=order, trust_env=False, timeout=60)
    assert answer.status_code == 201, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_run_json_tells_programs_where_everything_is(own_stack: Stack) -> None:
    path = own_stack.data / "run.json"
    content = json.loads(path.read_text())
    assert set(content) == {"http", "ws", "nats", "postgres", "pids", "ready"}
    schemes = {name: content[name].split("://")[0] for name in ("http", "ws", "nats", "postgres")}
    assert schemes == {"http": "http", "ws": "ws", "nats": "nats", "postgres": "postgresql"}
    assert tuple(content["pids"]) == PARTS
    assert all(psutil.pid_exists(pid) for pid in content["pids"].values())
    assert content["ready"] is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # the address of Postgres has its password
    assert httpx.get(f"{content['http']}/health/ready", trust_env=False).status_code == 200


def test_the_addresses_are_printed(own_stack: Stack) -> None:
    addresses = own_stack.run_file
    for address in (addresses.http, addresses.ws, without_password(addresses.nats)):
        assert address in own_stack.output


@pytest.mark.parametrize("part", PARTS)
def test_a_part_killed_with_9_is_started_again_and_orders_go_on(part: str, own_stack: Stack) -> None:
    before = own_stack.pids
    killed = own_stack.kill(part)
    own_stack.wait_until_healed(part, killed)
    place(own_stack, "buy", "1")
    others = {name: pid for name, pid in own_stack.pids.items() if name != part}
    assert others == {name: pid for name, pid in before.items() if name != part}


def test_callers_wait_while_the_gateway_is_started_again(own_stack: Stack) -> None:
    gateway = psutil.Process(own_stack.pids["gateway"])
    address = own_stack.http
    gateway.kill()
    gateway.wait(60)
    assert httpx.get(f"{address}/health/live", trust_env=False, timeout=30).status_code == 200
    own_stack.wait_until_healed("gateway", gateway.pid)


def test_a_second_start_on_the_same_data_is_one_line(own_stack: Stack) -> None:
    done = up(*free_ports(own_stack.data))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "already" in done.stderr
    assert own_stack.is_ready()


def test_it_goes_on_where_it_stopped_and_leaves_no_process(fresh_stack: Callable[[], Stack]) -> None:
    stack = fresh_stack()
    order = place(stack, "sell", "10")
    processes = stack.processes()
    stack.stop()
    assert [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert not (stack.data / "run.json").exists()
    assert "Stopped." in stack.output

    stack.start()
    found = httpx.get(f"{stack.http}/orders/{order['order_id']}", trust_env=False, timeout=60).json()
    assert found["remaining_quantity"] == order["remaining_quantity"]
    bought = place(stack, "buy", "4", account="other")
    assert bought["status"] == "filled"


def test_killed_with_9_it_takes_its_parts_along_and_starts_again(fresh_stack: Callable[[], Stack]) -> None:
    stack = fresh_stack()
    order = place(stack, "sell", "10")
    processes = stack.processes()
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []

    stack.start()
    assert httpx.get(f"{stack.http}/orders/{order['order_id']}", trust_env=False, timeout=60).status_code == 200


@pytest.mark.parametrize("option", ["--http-port", "--ws-port", "--nats-port"])
def test_a_port_in_use_is_one_line_that_says_what_to_do(option: str) -> None:
    with temporary_folder() as folder, socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = up(*free_ports(folder), option, port)
    assert done.returncode == 2
    assert done.stderr == (
        f"pricetime: port {port} is in use; stop what uses it or choose another:"
        f" pricetime up {option} N (0: any free port)\n"
    )


def test_an_address_that_is_not_this_machines_is_one_line(tmp_path: Path) -> None:
    done = up("--data", str(tmp_path), "--host", "192.0.2.1")
    assert done.returncode == 2
    assert "cannot be opened on 192.0.2.1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_keys_others_are_not_served_and_with_the_first_key_they_are() -> None:
    """As if it listened on another address than loopback: gateway and broadcaster judge by what reaches them."""
    with temporary_folder() as folder:
        stack = Stack(folder / "data", {"PRICETIME_PUBLISHED_HOST": "0.0.0.0"})
        try:
            stack.launch()
            assert wait_until(lambda: "gateway refuses to serve" in stack.output, 60)
            assert "pricetime keys create" in stack.output
            assert not stack.is_ready()
            create = [sys.executable, "-P", "-m", "cli.main", "keys", "create", "--scopes", "admin", "--quiet"]
            made = subprocess.run([*create, "--data", str(stack.data)], check=True, capture_output=True, text=True)
            stack.wait_until_ready()
            asked = httpx.get(f"{stack.http}/orders", trust_env=False)
            assert asked.status_code == 401
            with_key = {"authorization": f"Bearer {made.stdout.strip()}"}
            assert httpx.get(f"{stack.http}/orders", headers=with_key, trust_env=False).status_code == 200
        finally:
            stack.stop()


def test_a_folder_that_cannot_hold_data_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = up(*free_ports(tmp_path / "file" / "data"))
    assert done.returncode == 2
    assert done.stderr.startswith("pricetime: cannot keep data in")
    assert done.stderr.count("\n") == 1


def test_an_impossible_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICETIME_BACKLOG_COMMANDS", "many")
    done = up(*free_ports(tmp_path))
    assert done.returncode == 2
    assert "PRICETIME_" in done.stderr


def test_stopping_while_it_starts_leaves_no_process() -> None:
    with temporary_folder() as folder:
        command = [sys.executable, "-P", "-m", "cli.main", "up", *free_ports(folder / "data")]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            assert wait_until((folder / "data" / "run.json").exists)
            below = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            assert process.wait(60) == 0
        assert [each for each in below if each.is_running()] == []
