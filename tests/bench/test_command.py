import argparse
from pathlib import Path

import pytest

from bench import command
from bench.client import WrongAnswer
from bench.rounds import PER_SECOND, Row
from bench.run import MEASUREMENTS, Say
from bench.scale import Scale


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured; the recorder's measurement fails."""
    names: list[str] = []

    async def measure(name: str, scale: Scale, folder: Path, say: Say) -> list[Row]:
        names.append(name)
        if name == "recorder":
            raise WrongAnswer("no rows")
        return [Row(f"speed of {name}", "floor", PER_SECOND, (10.0,), (20.0,))]

    monkeypatch.setattr(command, "measure", measure)
    return names


def test_some_are_measured_in_the_order_of_the_table(measured: list[str], tmp_path: Path) -> None:
    assert command.run(parsed("--only", "rest,engine", "--json", str(tmp_path / "out.json"))) == 0
    assert measured == ["engine", "rest"]
    assert "speed of rest" in (tmp_path / "out.json").read_text()


def test_what_was_found_before_a_failure_is_shown_and_nothing_written(
    measured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(parsed("--json", str(tmp_path / "out.json"))) == 1
    assert measured == list(MEASUREMENTS)[: MEASUREMENTS.index("recorder") + 1]
    said = capsys.readouterr()
    assert "speed of engine" in said.out
    assert said.err.strip().endswith("bench: no rows")
    assert not (tmp_path / "out.json").exists()


def test_a_measurement_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--only", "rest,speed")
    assert "speed: take some of engine,nats," in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--folder"])
def test_where_nothing_can_be_written_is_said_before_measuring(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(option, str(tmp_path / "nowhere" / "there"))
    assert f"argument {option}: {tmp_path}/nowhere/there" in capsys.readouterr().err


def test_a_part_is_not_written_over_the_table_of_one_run(
    measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(parsed("--only", "rest", "--write")) == 2
    assert "leave out --only" in capsys.readouterr().err
    assert not measured


def test_pictures_need_matplotlib(
    measured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    assert command.run(parsed("--write")) == 2
    assert "pip install 'pricetime[bench]'" in capsys.readouterr().err
    assert not measured


def test_everything_that_is_written(measured: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "MEASUREMENTS", ("engine", "rest"))
    monkeypatch.setattr(command, "DEFAULT_JSON", tmp_path / "latest.json")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert command.run(parsed("--write", "--quick")) == 0
    assert {each.name for each in tmp_path.iterdir()} == {"latest.json", "latest.md", "ratios.svg", "latency.svg"}
    assert (tmp_path / "latest.md").read_text().splitlines()[0].endswith(", of a quick run")
