"""The command line itself: help for people, errors in one line."""

import importlib
import subprocess
import sys

import pytest

from cli.main import COMMANDS, main


def pricetime(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: pricetime {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_the_same_shape(name: str) -> None:
    module = importlib.import_module(COMMANDS[name][0])
    assert callable(module.add_arguments)
    assert callable(module.run)


def test_the_options_of_up_and_their_defaults_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["up", "--help"])
    shown = capsys.readouterr().out
    for text in ("--data DIR", "--host H", "--http-port N", "--ws-port N", "--nats-port N", "8000", "8001", "4222"):
        assert text in shown


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_an_impossible_port_is_refused(port: str) -> None:
    done = pricetime("up", f"--http-port={port}")
    assert done.returncode == 2
    assert "is not a port: give a number from 0 to 65535" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["down"], ["replay"], ["replay", "x", "--speed", "0"]])
def test_a_wrong_command_line_ends_with_2_and_no_traceback(arguments: list[str]) -> None:
    done = pricetime(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
