"""`pricetime journal` against a real NATS server with a journal, and nobody else: no matcher, no Postgres."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nats
import pytest

from cli.main import main
from contracts.messages import CancelOrder, DefineInstrument, OrderType, PlaceOrder, Side
from tests.support.journals import FIRST_TIME, STEP, Journal, publish
from tests.support.servers import NatsServer, run_apart, start_nats, temporary_folder

pytestmark = pytest.mark.stack

ORDERS = 30


def bid(symbol: str = "BTC-USD") -> PlaceOrder:
    return PlaceOrder(symbol, Side.BUY, OrderType.LIMIT, 1500, 9950)


@pytest.fixture(scope="module")
def journal() -> Journal:
    """Commits: 1 a barrier, 2 the instruments, 3 to 32 an order each, 33 cancels order 1, 34 is of ETH-USD."""
    made = Journal()
    made.barrier()
    made.play(DefineInstrument("BTC-USD", "0.01", "0.001"), DefineInstrument("ETH-USD", "0.01", "0.001"))
    for _ in range(ORDERS):
        made.play(bid())
    made.play(CancelOrder(1))
    made.play(bid("ETH-USD"))
    return made


@pytest.fixture(scope="module")
def server(journal: Journal) -> Iterator[NatsServer]:
    with temporary_folder() as folder:
        started = start_nats(folder)
        run_apart(lambda: add(started, journal))
        yield started
        started.stop()


async def add(server: NatsServer, journal: Journal, start: int = 0) -> None:
    connection = await nats.connect(server.url)
    try:
        await publish(connection, journal.written[start:])
    finally:
        await connection.close()


class Terminal:
    def __init__(self, server: NatsServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = server.url
        self._capsys = capsys

    def journal(self, *options: str) -> str:
        self._capsys.readouterr()
        assert main(["journal", "--nats", self.url, *options]) == 0
        return self._capsys.readouterr().out

    def sequences(self, *options: str) -> list[int]:
        return [json.loads(line)["sequence"] for line in self.journal("--json", *options).splitlines()]

    def fails(self, *options: str) -> str:
        """The one line that it says."""
        self._capsys.readouterr()
        with suppress(SystemExit):  # argparse's own
            assert main(["journal", "--nats", self.url, *options]) == 2
        said = self._capsys.readouterr()
        assert said.out == ""
        (line,) = said.err.splitlines()
        return line


@pytest.fixture
def terminal(server: NatsServer, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(server, capsys)


def test_the_last_commits_are_shown_in_words(terminal: Terminal) -> None:
    lines = terminal.journal().splitlines()
    headings = [line for line in lines if not line.startswith(" ")]
    assert [int(line.split()[0]) for line in headings] == list(range(15, 35))
    assert lines[-3:] == [headings[-1], "  place buy 1500 lots ETH-USD at 9950 ticks, account default", lines[-1]]


def test_without_a_matcher_the_journal_tells_of_its_instruments(terminal: Terminal) -> None:
    assert "place buy 1.500 BTC-USD at 99.50" in terminal.journal("--sequence", "2..3")
    assert "place buy 1.500 BTC-USD at 99.50" in terminal.journal("--order", "1")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--sequence", "7"), [7]),
        (("--sequence", "7..9"), [7, 8, 9]),
        (("--sequence", "33.."), [33, 34]),
        (("--sequence", "33..99"), [33, 34]),
        (("--sequence", "7..20", "-n", "2"), [19, 20]),
        (("--order", "1"), [3, 33]),
        (("--order", "1", "--last", "1"), [33]),
        (("--symbol", "ETH-USD"), [2, 34]),
        (("--symbol", "ETH-USD", "--sequence", "3.."), [34]),
        (("-n", "1"), [34]),
        (("--order", "999"), []),
    ],
)
def test_what_is_asked_for_is_shown(terminal: Terminal, options: tuple[str, ...], expected: list[int]) -> None:
    assert terminal.sequences(*options) == expected


def written_at(sequence: int) -> str:
    """The time of a commit, as one may type it."""
    microseconds = FIRST_TIME + STEP * sequence
    return f"2023-11-14T22:13:{microseconds // 1_000_000 % 60:02}.{microseconds % 1_000_000:06}"


def test_time_is_found_exactly(journal: Journal, terminal: Terminal) -> None:
    times = {each.commit.sequence: each.commit.time for each in journal.written}
    assert times[10] == FIRST_TIME + 10 * STEP
    assert terminal.sequences("--since", written_at(32)) == [32, 33, 34]
    assert terminal.sequences("--since", "2023-11-14T22:13:20.031001") == [32, 33, 34]
    assert terminal.sequences("--until", written_at(3)) == [1, 2]
    assert terminal.sequences("--since", written_at(5), "--until", written_at(7)) == [5, 6]
    assert terminal.sequences("--since", written_at(5), "--until", written_at(9), "-n", "1") == [8]
    assert terminal.sequences("--since", "1h") == []
    assert terminal.sequences("--until", "2020-01-01") == []


def test_the_life_of_an_order_ends_with_what_has_become_of_it(terminal: Terminal) -> None:
    last = terminal.journal("--order", "1").splitlines()[-1]
    assert last == "order 1 is canceled (requested): 0.000 of 1.500 BTC-USD filled"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sequence", "99"), "there is no commit 99: the journal ends at 34"),
        (("--sequence", "9..3"), "ends before it begins"),
        (("--sequence", "all"), "is no sequence: give 1000, 1000..1020, or 1000.. to the end"),
        (("--order", "x"), "is no order id"),
        (("--symbol", "a b"), "cannot be a symbol"),
        (("--since", "yesterday"), "is no time: give 2026-11-21T09:30:00"),
        (("--last", "0"), "give 1 or more"),
        (("-f", "--until", "1h"), "--follow has no end"),
    ],
)
def test_what_cannot_be_is_one_line(terminal: Terminal, options: tuple[str, ...], said: str) -> None:
    assert said in terminal.fails(*options)


def test_an_exchange_without_a_journal_is_one_line(
    module_nats_server: NatsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no journal yet" in Terminal(module_nats_server, capsys).fails()


# Of an exchange that is stopped


class Stopped:
    """Its files, in a folder of their own, as a copy leaves them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def journal(self, *options: str) -> tuple[str, list[str]]:
        self._capsys.readouterr()
        assert main(["journal", "--data", str(self.folder), *options]) == 0
        said = self._capsys.readouterr()
        return said.out, said.err.splitlines()


@pytest.fixture
def stopped(
    server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Stopped:
    monkeypatch.delenv("PRICETIME_NATS_URL", raising=False)
    shutil.copytree(server.plan.store, tmp_path / "nats")
    return Stopped(tmp_path, capsys)


def test_what_is_left_on_disk_is_shown_when_nothing_runs(stopped: Stopped) -> None:
    shown, said = stopped.journal("--order", "1")
    assert [line.split()[0] for line in shown.splitlines() if line[0].isdigit()] == ["3", "33"]
    assert shown.splitlines()[-1] == "order 1 is canceled (requested): 0.000 of 1.500 BTC-USD filled"
    assert said[0].startswith(f"no exchange runs on {stopped.folder}; start it with `pricetime up --data")
    assert said[0].endswith("What nats-server has left on disk there:")
    assert "place buy 1.500 ETH-USD at 99.50" in stopped.journal("--sequence", "34")[0]
    shown, _ = stopped.journal("--json", "--since", written_at(5), "--until", written_at(7))
    assert [json.loads(line)["sequence"] for line in shown.splitlines()] == [5, 6]


def test_a_damaged_commit_is_named_and_the_others_are_shown(journal: Journal, stopped: Stopped) -> None:
    (block,) = stopped.folder.rglob("JOURNAL/msgs/*.blk")
    content = bytearray(block.read_bytes())
    content[content.index(journal.written[6].payload) + 40] ^= 1
    block.write_bytes(content)
    shown, said = stopped.journal("--json", "--sequence", "6..8")
    assert [json.loads(line)["sequence"] for line in shown.splitlines()] == [6, 8]
    assert said[1:] == ["7  is missing there; `pricetime rebuild journal` may find it"]


def test_nothing_comes_of_an_exchange_that_is_stopped(stopped: Stopped, tmp_path: Path) -> None:
    assert main(["journal", "--data", str(stopped.folder), "-f"]) == 2
    assert main(["journal", "--data", str(tmp_path / "nowhere")]) == 2


def test_what_comes_is_shown_as_it_comes(journal: Journal, server: NatsServer) -> None:
    """And Ctrl-C ends it without a word."""
    command = [sys.executable, "-P", "-m", "cli.main", "journal", "--nats", server.url, "-f", "-n", "1", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            last = len(journal.written)
            assert json.loads(following.stdout.readline())["sequence"] == last
            journal.play(bid())
            run_apart(lambda: add(server, journal, last))
            assert json.loads(following.stdout.readline())["sequence"] == last + 1
        finally:
            following.send_signal(2)
        _, said = following.communicate(timeout=20)
    assert (following.returncode, said) == (130, "")
