"""The arithmetic of docs/capacity.md, with costs that are easy to count with."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bench import capacity
from bench.capacity import BEGIN, END, Costs, Machine, Users, as_text, plan, read_costs, table, with_table

COSTS = Costs(
    processor={"matcher": 20, "nats": 20, "recorder": 10, "postgres": 10, "broadcaster": 10},
    gateway=100,
    message=10,
    journal=200,
    postgres=300,
    resting={"matcher": 300, "broadcaster": 700},
    account={"matcher": 1_000},
    symbol={"matcher": 5_000},
    client=50_000,
    base={"matcher": 30e6, "gateway": 40e6},
)
USERS = Users(users=10_000, symbols=100)
"""1,000 are there: 100 orders a second, 500 at the peak."""
BIG = Machine(cores=100, memory=1_000)


def test_orders_messages_and_bytes_follow_from_what_users_do() -> None:
    found = plan(USERS, COSTS, BIG)
    assert found.orders == pytest.approx(500)
    assert found.clients == pytest.approx(1_000)
    assert found.messages == pytest.approx(1_000 * 3 * 500 * 0.5 / 100)
    orders_a_day = 100 * 12 * 3_600
    assert found.journal_per_day == pytest.approx(orders_a_day * 200)
    assert found.postgres_per_day == pytest.approx(orders_a_day * 300)
    assert found.disk_days == pytest.approx(500e9 / (orders_a_day * 500))


def test_each_part_is_as_busy_as_its_work() -> None:
    busy = {part.name: part.busy for part in plan(USERS, COSTS, BIG).parts}
    assert busy["gateway"] == pytest.approx(500 * 100e-6)
    assert busy["matcher"] == pytest.approx(500 * 20e-6)
    assert busy["broadcaster"] == pytest.approx(500 * 10e-6 + 7_500 * 10e-6)


def test_memory_is_what_rests_who_there_is_and_who_watches() -> None:
    gigabytes = {part.name: part.gigabytes for part in plan(USERS, COSTS, BIG).parts}
    assert gigabytes["matcher"] == pytest.approx((30e6 + 50_000 * 300 + 10_000 * 1_000 + 100 * 5_000) / 1e9)
    assert gigabytes["broadcaster"] == pytest.approx((50_000 * 700 + 1_000 * 50_000) / 1e9)


def test_messages_to_one_client_are_bounded_by_the_runs_that_are_shown() -> None:
    assert plan(replace(USERS, symbols=1), COSTS, BIG).messages == pytest.approx(1_000 * 200)


@pytest.mark.parametrize(
    ("costs", "machine", "first"),
    [
        (COSTS, BIG, "broadcaster"),
        (replace(COSTS, message=0.1), BIG, "gateway"),
        (replace(COSTS, message=0.1, gateway=1), BIG, "matcher"),
        (replace(COSTS, message=0.1), Machine(cores=1), "all processors"),
        (replace(COSTS, message=0.1), Machine(cores=100, memory=0.2), "memory"),
    ],
)
def test_what_gives_way_first_is_what_has_least_room(costs: Costs, machine: Machine, first: str) -> None:
    found = plan(USERS, costs, machine)
    assert found.first == first
    more = plan(replace(USERS, users=int(USERS.users * found.room * 1.01)), costs, machine)
    assert (found.room > 1) == (more.room < found.room)


def test_gateways_broadcasters_and_matchers_are_counted_at_seven_tenths() -> None:
    found = plan(replace(USERS, users=1_000_000, watched=0.001), COSTS, BIG)  # 50,000 orders a second
    assert (found.gateways, found.matchers, found.broadcasters) == (8, 2, 2)
    too_much = plan(replace(USERS, users=2_000_000), COSTS, BIG)
    assert too_much.broadcasters == 0
    assert "the journal alone is too much" in "\n".join(as_text(too_much))


def test_the_page_shows_what_the_costs_give(capsys: pytest.CaptureFixture[str]) -> None:
    page = capacity.PAGE.read_text()
    assert page == with_table(page, table(read_costs(), Machine()))
    assert capacity.main(["--users", "5000", "--symbols", "20", "--cores", "8"]) == 0
    assert "first to give way: " in capsys.readouterr().out


def test_the_table_is_replaced_and_nothing_else() -> None:
    assert with_table(f"a\n{BEGIN}old\n{END}b\n", "new\n") == f"a\n{BEGIN}new\n{END}b\n"


def test_without_measured_costs_it_says_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in (None, b"{", msgspec.json.encode({"costs": {}})):
        if content is not None:
            (tmp_path / "growth.json").write_bytes(content)
        monkeypatch.setattr(capacity, "read_costs", lambda: read_costs(tmp_path / "growth.json"))
        assert capacity.main([]) == 1
        assert "make them: python -m bench.growth --write" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1e30"])
def test_users_are_a_number_above_none(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        capacity.main(["--users", wrong])
    assert "--users" in capsys.readouterr().err
