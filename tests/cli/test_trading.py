"""Trading, looking and administering in the terminal, on a running exchange: a symbol and accounts of its own."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cli.main import main
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

SYMBOL = "TERMINAL-1"


class Terminal:
    def __init__(self, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
        self._data = str(stack.data)
        self._capsys = capsys

    def run(self, command: str, *options: str, code: int = 0) -> str:
        """What it prints."""
        self._capsys.readouterr()
        assert main([command, "--data", self._data, *options]) == code
        return self._capsys.readouterr().out.rstrip("\n")

    def json(self, command: str, *options: str) -> list[Any]:
        return [json.loads(line) for line in self.run(command, "--json", *options).splitlines()]

    def fails(self, command: str, *options: str) -> str:
        """The one line that it says."""
        self._capsys.readouterr()
        assert main([command, "--data", self._data, *options]) == 2
        (line,) = self._capsys.readouterr().err.splitlines()
        return line.removeprefix("pricetime: ")

    def order(self, *options: str) -> dict[str, Any]:
        (placed,) = self.json("order", *options)
        assert isinstance(placed, dict)
        return placed

    @contextmanager
    def live(self, command: str, *options: str) -> Iterator["Lines"]:
        """What it prints as it comes, also into a pipe; then Ctrl-C, which ends it without a word."""
        arguments = [sys.executable, "-P", "-m", "cli.main", command, "--data", self._data, *options]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            try:
                yield Lines(running)
            finally:
                running.send_signal(2)
            _, said = running.communicate(timeout=20)
        assert (running.returncode, said) == (130, "")


class Lines:
    def __init__(self, running: subprocess.Popen[str]) -> None:
        assert running.stdout is not None
        self._lines = running.stdout

    def next(self) -> str:
        return self._lines.readline().rstrip("\n")

    def json(self) -> Any:
        return json.loads(self.next())


@pytest.fixture
def terminal(stack: Stack, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    """The book is empty at the beginning, and at the end."""
    made = Terminal(stack, capsys)
    made.run("instruments", "define", SYMBOL, "--tick-size", "0.01", "--lot-size", "0.1")
    yield made
    made.run("cancel", "--all", "--every-account", "--symbol", SYMBOL)


def test_an_order_is_placed_amended_looked_at_and_canceled(terminal: Terminal) -> None:
    placed = terminal.order("buy", "1.5", SYMBOL, "--price", "99.50", "--account", "tom")
    order_id = str(placed["order_id"])
    assert (placed["status"], placed["type"], placed["price"]) == ("open", "limit", "99.50")

    said = terminal.run("amend", order_id, "--quantity", "1").splitlines()
    assert said[0] == f"order {order_id} is open: buy 1.0 {SYMBOL} at 99.50, nothing filled, account tom"
    assert said[1] == "  it keeps its place"

    table = terminal.run("orders", "--account", "tom").splitlines()
    assert table[0].split()[:4] == ["ID", "ACCOUNT", "SYMBOL", "SIDE"]
    assert [line.split()[0] for line in table[1:]] == [order_id]
    life = terminal.run("orders", order_id).splitlines()
    assert [line.split()[3] for line in life[3:]] == ["accepted", "amended"]

    assert terminal.run("cancel", order_id).startswith(f"order {order_id} is canceled (requested)")
    assert terminal.run("orders", "--account", "tom") == "there are no open orders"


def test_a_trade_is_told_and_found(terminal: Terminal) -> None:
    resting = terminal.order("sell", "2", SYMBOL, "-p", "100", "--account", "una", "--client-order-id", "una-1")
    said = terminal.run("order", "buy", "0.5", SYMBOL, "--market", "--account", "tom").splitlines()
    assert "is filled: buy 0.5" in said[0]
    assert said[1].endswith(": 0.5 at 100.00")
    (trade,) = terminal.json("trades", SYMBOL, "--once", "-n", "1")
    assert (trade["maker_order_id"], trade["quantity"]) == (resting["order_id"], "0.5")
    (found,) = terminal.json("orders", "una-1", "--account", "una")
    assert (found["status"], found["filled_quantity"]) == ("partially_filled", "0.5")
    assert [each["order_id"] for each in terminal.json("orders", "--account", "una")] == [resting["order_id"]]


def test_a_name_that_looks_like_an_id_is_said_to_be_one(terminal: Terminal) -> None:
    other = terminal.order("buy", "1", SYMBOL, "-p", "1", "-a", "una")["order_id"]
    named = terminal.order("buy", "1", SYMBOL, "-p", "1", "-a", "tom", "--client-order-id", str(other))["order_id"]
    assert terminal.json("orders", f"name:{other}", "-a", "tom")[0]["order_id"] == named
    assert terminal.json("amend", f"name:{other}", "-a", "tom", "-p", "2")[0]["order_id"] == named
    assert terminal.json("cancel", f"name:{other}", "-a", "tom")[0]["order_id"] == named
    assert terminal.json("cancel", str(other), "-a", "tom")[0]["order_id"] == other


def test_the_newest_orders_come_first(terminal: Terminal) -> None:
    first, second, third = (terminal.order("buy", "1", SYMBOL, "-p", "1", "-a", "vic")["order_id"] for _ in range(3))
    terminal.run("cancel", str(second))
    of_vic = ("orders", "--account", "vic")
    assert [each["order_id"] for each in terminal.json(*of_vic)] == [third, first]
    assert [each["order_id"] for each in terminal.json(*of_vic, "--status", "any")] == [third, second, first]
    assert [each["order_id"] for each in terminal.json(*of_vic, "-n", "1")] == [third]
    assert [each["order_id"] for each in terminal.json(*of_vic, "--status", "canceled")] == [second]


def test_the_kind_of_an_order_follows_from_its_prices(terminal: Terminal) -> None:
    kinds = {
        ("--price", "90", "--post-only", "--display", "0.1"): ("limit", "GTC"),
        ("--price", "90", "--expires", "1h"): ("limit", "GTD"),
        ("--price", "90", "--stop", "120", "--tif", "DAY"): ("stop_limit", "DAY"),
        ("--market", "--stop", "120", "--protect", "130"): ("stop", "GTC"),
        ("--market", "--stp", "cancel_newest"): ("market", "IOC"),
    }
    for options, expected in kinds.items():
        placed = terminal.order("buy", "1", SYMBOL, *options)
        assert (placed["type"], placed["time_in_force"]) == expected, options


def test_what_the_exchange_refuses_is_one_line(terminal: Terminal) -> None:
    assert "off_tick" in terminal.fails("order", "buy", "1", SYMBOL, "--price", "99.505")
    assert "unknown_symbol" in terminal.fails("order", "buy", "1", "NOWHERE", "--price", "99")
    assert "unknown_order" in terminal.fails("amend", "999999", "--price", "1")
    assert "unknown_order" in terminal.fails("orders", "nobodys")
    assert "NOWHERE is not listed; listed: " in terminal.fails("book", "NOWHERE")
    assert "no_liquidity" in terminal.fails("order", "buy", "--notional", "5", SYMBOL, "--market")


def test_of_several_cancelations_one_may_fail(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (str(terminal.order("buy", "1", SYMBOL, "-p", "1")["order_id"]) for _ in range(2))
    done = terminal.run("cancel", first, "999999", second, code=2)
    assert [line.split()[1] for line in done.splitlines()] == [first, second]
    terminal.order("buy", "1", SYMBOL, "-p", "1", "-a", "una")
    terminal.order("sell", "1", SYMBOL, "-p", "9", "-a", "una")
    cancel_all = ("cancel", "--all", "--account", "una")
    assert terminal.run(*cancel_all, "--side", "buy", "--symbol", SYMBOL) == "1 order canceled"
    assert terminal.json(*cancel_all)[0]["canceled"] == 1


def test_the_book_is_shown_best_prices_in_the_middle(terminal: Terminal) -> None:
    for side, price in (("buy", "98"), ("buy", "99"), ("sell", "101"), ("sell", "102")):
        terminal.order(side, "1", SYMBOL, "-p", price)
    lines = terminal.run("book", SYMBOL, "--once").splitlines()[1:]
    assert [line.split() for line in lines] == [
        ["SIDE", "PRICE", "QUANTITY", "TOTAL"],
        ["ask", "102.00", "1.0", "2.0"],
        ["ask", "101.00", "1.0", "1.0"],
        ["bid", "99.00", "1.0", "1.0"],
        ["bid", "98.00", "1.0", "2.0"],
    ]
    (depth,) = terminal.json("book", SYMBOL, "--once", "--levels", "1")
    assert (depth["bids"], depth["asks"]) == ([["99.00", "1.0"]], [["101.00", "1.0"]])


def test_book_and_trades_go_on_as_they_change(terminal: Terminal) -> None:
    terminal.order("sell", "2.5", SYMBOL, "-p", "101")
    earlier = terminal.order("buy", "0.5", SYMBOL, "--market")
    with terminal.live("book", SYMBOL) as book, terminal.live("trades", SYMBOL, "-n", "1", "--json") as trades:
        assert book.next().endswith("  live  bid -  ask 101.00 x 2.0")
        assert trades.json()["taker_order_id"] == earlier["order_id"]
        taker = terminal.order("buy", "0.5", SYMBOL, "--market")
        assert trades.json()["taker_order_id"] == taker["order_id"]
        assert book.next().endswith("  live  bid -  ask 101.00 x 1.5")


def test_on_a_terminal_the_book_is_drawn(terminal: Terminal, stack: Stack) -> None:
    terminal.order("buy", "3.1", SYMBOL, "-p", "97.53")
    above, below = pty.openpty()
    command = [sys.executable, "-P", "-m", "cli.main", "book", SYMBOL, "--data", str(stack.data)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    drawn = b""
    with subprocess.Popen(command, stdin=below, stdout=below, stderr=subprocess.PIPE, env=environment) as running:
        os.close(below)
        try:
            while b"97.53" not in drawn:
                drawn += os.read(above, 4096)
        finally:
            running.send_signal(2)
            _, said = running.communicate(timeout=20)
            os.close(above)
    assert b"live" in drawn
    assert (running.returncode, said) == (130, b"")


def test_instruments_are_listed_halted_and_resumed(terminal: Terminal) -> None:
    assert SYMBOL in terminal.run("instruments", "--names").splitlines()
    halted = terminal.run("instruments", "halt", SYMBOL).splitlines()[-1]
    assert halted.split()[:4] == [SYMBOL, "halted", "0.01", "0.1"]
    assert "instrument_halted" in terminal.fails("order", "buy", "1", SYMBOL, "-p", "1")
    assert terminal.json("instruments", "resume", SYMBOL)[0]["status"] == "trading"
    limited = terminal.run("instruments", "define", SYMBOL, "--band", "250", "--max-quantity", "5").splitlines()[-1]
    assert limited.split()[5:] == ["5.0", "-", "-", "2.5", "%"]
    assert "give --tick-size and --lot-size" in terminal.fails("instruments", "define", "TERMINAL-2")
    assert "instrument_rules_fixed" in terminal.fails("instruments", "define", SYMBOL, "--tick-size", "0.1")


def test_options_stand_anywhere(terminal: Terminal) -> None:
    placed = terminal.order("buy", "--price", "9", "1", "--account", "una", SYMBOL)
    assert (placed["symbol"], placed["quantity"], placed["account"]) == (SYMBOL, "1.0", "una")


def test_options_stand_before_or_after_the_action(terminal: Terminal) -> None:
    assert terminal.json("instruments", "resume", SYMBOL) == [
        json.loads(terminal.run("instruments", "resume", SYMBOL, "--json"))
    ]
