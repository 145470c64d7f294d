"""`pricetime replay` on a small file: batching in the file's order, and the whole way over NATS and over REST."""

import json
import lzma
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cli.errors import CommandError
from cli.flow import COLUMNS, Action, Cancel, Done, Flow, Place, Result
from cli.replay import Clock, Sender, read_events
from tests.support.stack import Stack

HEADER = ",".join(COLUMNS)


def row(reference: int, price: str, volume: int, action: str, direction: str, milliseconds: int = 0) -> str:
    return f"{reference},{milliseconds},{milliseconds},{price},{volume},{action},{direction}"


# One sell of 3 meets two buys; the second is canceled after it was filled, the third before
FLOW = [
    HEADER,
    row(1, "100.10", 300_000_000, "created", "ask"),
    row(2, "100.20", 100_000_000, "created", "bid"),
    row(1, "100.10", 200_000_000, "changed", "ask"),
    row(3, "100.10", 200_000_000, "created", "bid"),
    row(3, "100.10", 50_000_000, "deleted", "bid"),
    row(4, "99.00", 100_000_000, "created", "bid"),
    row(4, "99.00", 100_000_000, "deleted", "bid"),
    row(5, "99.00", 100_000_000, "deleted", "bid"),
    row(6, "98.005", 100_000_000, "created", "bid"),
    row(7, "98.00", 0, "created", "bid"),
    row(1, "100.10", 0, "deleted", "ask"),
]


class Recorder:
    """An exchange that takes everything and remembers how it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[Action]] = []
        self._orders = 0

    async def send(self, actions: list[Action]) -> list[Result]:
        self.batches.append(actions)
        return [self._result(action) for action in actions]

    def _result(self, action: Action) -> Result:
        if isinstance(action, Cancel):
            return Done(action.order_id, sequence=len(self.batches))
        self._orders += 1
        return Done(self._orders, sequence=len(self.batches))


def written(folder: Path, lines: list[str]) -> Path:
    file = folder / "flow.csv"
    file.write_text("\n".join(lines))
    return file


async def send_all(file: Path) -> list[list[Action]]:
    exchange = Recorder()
    sender = Sender(exchange, Flow(), Clock(None))
    for event in read_events(file):
        await sender.take(event)
    await sender.flush()
    return exchange.batches


async def test_a_batch_ends_where_a_cancel_needs_an_answer(tmp_path: Path) -> None:
    batches = await send_all(written(tmp_path, FLOW[:8]))
    kinds = [[(type(action), action.reference) for action in batch] for batch in batches]
    assert kinds == [
        [(Place, "1"), (Place, "2"), (Place, "3")],
        [(Cancel, "3"), (Place, "4")],
        [(Cancel, "4")],
    ]


async def test_a_batch_never_holds_more_than_a_request_may(tmp_path: Path) -> None:
    lines = [HEADER, *(row(each, "1.00", 100, "created", "bid") for each in range(1201))]
    assert [len(batch) for batch in await send_all(written(tmp_path, lines))] == [500, 500, 201]


def test_an_event_is_due_at_its_recorded_distance_divided_by_the_speed() -> None:
    clock = Clock(100.0)
    assert clock.seconds_until(5_000) <= 0
    assert 9 < clock.seconds_until(1_005_000) <= 10
    assert Clock(None).seconds_until(1_000_000) == 0


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["a,b,c"], "the first line must be id,timestamp"),
        ([HEADER, row(1, "1.00", 1, "created", "bid"), "1,2"], "line 3: 2 values instead of 7"),
    ],
)
def test_a_file_that_is_not_order_flow_is_refused_with_its_line(
    lines: list[str], complaint: str, tmp_path: Path
) -> None:
    file = written(tmp_path, lines)
    with pytest.raises(CommandError, match=complaint):
        list(read_events(file))


@pytest.mark.parametrize(
    ("name", "content"), [("flow.csv.xz", b"not xz"), ("flow.csv", b"\xff\xfe"), ("none.csv", None)]
)
def test_a_file_that_cannot_be_read_is_one_line(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CommandError, match=name):
        list(read_events(tmp_path / name))


def list_symbol(stack: Stack, symbol: str) -> str:
    rules = {"tick_size": "0.01", "lot_size": "0.00000001"}
    httpx.put(f"{stack.http}/instruments/{symbol}", json=rules, trust_env=False).raise_for_status()
    return symbol


def replay(stack: Stack, file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cli.main", "replay", str(file), "--data", str(stack.data), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.stack
@pytest.mark.parametrize("way", ["--nats", "--rest"])
def test_a_file_goes_through_and_is_counted(way: str, stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "flow.csv.xz"
    file.write_bytes(lzma.compress("\n".join(FLOW).encode()))
    symbol = list_symbol(stack, f"REPLAY{way.upper()}")
    options = (way, "--symbol", symbol, "--account", f"replay{way}", "--json")

    done = replay(stack, file, *options)

    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert (numbers["events"], numbers["sent"]) == (11, 7)
    assert (numbers["placed"], numbers["trades"]) == (4, 2)
    assert (numbers["canceled"], numbers["gone_before"]) == (1, 1)
    assert sum(numbers["refused"].values()) == 1  # 98.005 is off the tick
    assert numbers["skipped"]["never created here"] == 1
    assert numbers["first_sequence"] <= numbers["last_sequence"]

    again = json.loads(replay(stack, file, *options).stdout)
    assert (again["placed"], again["placed_before"], again["trades"], again["gone_before"]) == (0, 4, 0, 2)


@pytest.mark.stack
def test_an_unlisted_symbol_is_one_line(stack: Stack, tmp_path: Path) -> None:
    file = written(tmp_path, FLOW)
    done = replay(stack, file, "--symbol", "NOWHERE")
    assert (done.returncode, done.stderr.strip().splitlines()[-1][:39]) == (
        2,
        "pricetime: NOWHERE is not listed; liste",
    )


def test_no_running_exchange_is_one_line(tmp_path: Path) -> None:
    file = written(tmp_path, FLOW)
    done = replay(Stack(tmp_path), file)
    assert done.returncode == 2
    assert "no exchange runs on" in done.stderr
