"""`pricetime demo`: an exchange with traders on it, which are there while it is."""

import argparse
from pathlib import Path

import psutil
import pytest

from cli import restart
from cli.broker_users import list_logins
from cli.demo import add_arguments, run
from cli.errors import CommandError
from cli.flow import COLUMNS
from cli.main import main
from cli.runfile import DATA, DEMO_DATA, RunFile, read_run_file, write_run_file
from pricetime_client import Exchange
from tests.support.servers import wait_until
from tests.support.stack import running_stack

SECONDS = 60.0


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_it_keeps_its_data_apart_and_has_the_options_of_up() -> None:
    found = parsed("--http-port", "0", "--standby")
    assert (found.data, found.symbols, found.speed) == (DEMO_DATA, ("BTC-USD", "ETH-USD", "SOL-USD"), 1.0)
    assert (found.http_port, found.standby) == (0, True)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--symbols", "A,,B", "is not a symbol"), ("--symbols", "A,B/C", "'B/C'"), ("--speed", "0", "above zero")],
)
def test_what_cannot_be_is_named(option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(option, value)
    assert says in capsys.readouterr().err


def test_a_file_that_is_none_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        run(parsed("--replay", str(tmp_path / "none.csv"), "--data", str(tmp_path / "data")))
    (tmp_path / "other.csv").write_text("a,b\n")
    with pytest.raises(CommandError, match="the first line must be"):
        run(parsed("--replay", str(tmp_path / "other.csv"), "--data", str(tmp_path / "data")))
    assert not (tmp_path / "data").exists()


def test_commands_find_the_demo_when_nothing_else_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommandError, match=r"no exchange runs on \.pricetime;"):
        read_run_file(DATA)
    for data, port in ((DEMO_DATA, 2), (DATA, 1)):
        data.mkdir()
        write_run_file(data, RunFile(f"http://127.0.0.1:{port}", "", "", "", {}))
        assert read_run_file(DATA).http == f"http://127.0.0.1:{port}"
    with pytest.raises(CommandError, match="no exchange runs on"):
        read_run_file(tmp_path / "other")


def test_what_is_done_to_the_exchange_that_runs_is_done_to_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def restarted(data: Path, parts: list[str]) -> None:
        assert (data, parts) == (tmp_path / DEMO_DATA, ["gateway"])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(restart, "_restart", restarted)
    DEMO_DATA.mkdir()
    write_run_file(DEMO_DATA, RunFile("http://127.0.0.1:1", "", "nats://127.0.0.1:2", "", {}))
    assert main(["restart", "gateway"]) == 0
    assert main(["nats-users", "add", "anna"]) == 0
    assert [each.name for each in list_logins(DEMO_DATA / "nats-users")] == ["anna"]
    assert not DATA.exists()


@pytest.mark.stack
def test_a_recorded_day_and_traders_at_work_and_nothing_left_of_them(tmp_path: Path) -> None:
    day = tmp_path / "day.csv"
    rows = ("1,1000,1000,99.50,100000000,created,bid", "2,1200,1000,100.25,200000000,created,ask",
            "3,1300,1000,100.50,200000000,created,ask", "3,1400,1000,100.50,200000000,deleted,ask")  # fmt: skip
    day.write_text("\n".join((",".join(COLUMNS), *rows, "9,99999999,1000,1,1,created,bid")) + "\n")
    options = ("--symbols", "DAY,LIVELY", "--speed", "10", "--replay", str(day))
    with running_stack(command="demo", options=options) as stack:
        with Exchange(stack.http) as exchange:
            assert wait_until(lambda: {"DAY", "LIVELY"} <= {each.symbol for each in exchange.instruments()}, SECONDS)
            [traders] = [each for each in stack.processes() if "demo" in each.cmdline() and "--url" in each.cmdline()]
            assert wait_until(lambda: len(exchange.orders(symbol="DAY", status="canceled")) == 1, SECONDS)
            depth = exchange.depth("DAY")
            assert [(str(price), int(quantity)) for price, quantity in (*depth.bids, *depth.asks)] == [
                ("99.50", 1),
                ("100.25", 2),
            ]
            assert wait_until(lambda: len(exchange.trades(symbol="LIVELY")) > 2, SECONDS)
            assert len(exchange.depth("LIVELY", levels=50).bids) > 10
            traded_by = {each.account for each in exchange.orders(symbol="LIVELY", limit=None)}
            assert {"market-maker", "noise"} <= traded_by <= {"market-maker", "noise", "momentum"}
            assert {each.account for each in exchange.orders(symbol="DAY", limit=None)} == {"replay"}
        stack.stop()
        assert not traders.is_running() or traders.status() == psutil.STATUS_ZOMBIE
        assert "join as soon as it is ready" in stack.output
        assert "Stopped." in stack.output

        stack.options = ("--symbols", "BTC-USD")  # nobody trades the others now
        stack.start()
        with Exchange(stack.http) as exchange:
            assert exchange.orders(symbol="LIVELY", status="open") == []
            assert exchange.orders(symbol="DAY", status="open") == []
