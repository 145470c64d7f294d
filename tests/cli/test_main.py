"""The command line itself: help for people, errors in one line."""

import importlib
import re
import subprocess
import sys

import pytest

from cli.main import COMMANDS, GROUPS, main


def pricetime(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_help_shows_commands_by_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    titles = [line.strip() for line in lines if re.fullmatch(r"  [a-z][a-z ]+:", line)]
    assert titles == [f"{title}:" for title in GROUPS]
    shown = [line.split()[0] for line in lines if re.match(r"    [a-z]", line)]
    assert shown == list(COMMANDS)


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


def test_examples_are_shown_as_they_are_laid_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["journal", "--help"])
    assert "\n  pricetime journal --order 17             the life of an order" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["down"], ["replay"], ["replay", "x", "--speed", "0"]])
def test_a_wrong_command_line_ends_with_2_and_one_line(arguments: list[str]) -> None:
    done = pricetime(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("jurnal", "there is no command 'jurnal'; did you mean `pricetime journal`?"),
        ("cancle", "did you mean `pricetime cancel`?"),
        ("xyz", "there is no command 'xyz'; see `pricetime --help`"),
    ],
)
def test_a_mistyped_command_is_told_which_it_may_have_been(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed]) == 2
    assert said in capsys.readouterr().err


def test_who_reads_no_further_ends_it_without_a_word() -> None:
    """As `pricetime completion bash | head -1` does."""
    command = [sys.executable, "-P", "-m", "cli.main", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writing:
        assert writing.stdout is not None
        assert writing.stderr is not None
        writing.stdout.close()
        said = writing.stderr.read()
    assert (writing.returncode, said) == (141, "")


def test_a_package_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("cli.up", "cli.stack", "cli.health", "cli.rebuild"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert main(["up"]) == 2
    assert capsys.readouterr().err == (
        "pricetime: `pricetime up` needs the package psutil: pip install 'pricetime[local]'\n"
    )


def test_only_the_module_of_the_command_is_imported() -> None:
    """Every command starts as fast as it can: what others need is not looked at."""
    program = "import sys, cli.main; cli.main.make_parser(['keys']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True, timeout=30)
    loaded = set(done.stdout.split())
    modules = {module for module, _ in COMMANDS.values()}
    assert loaded & modules == {"cli.keys"}
    assert not loaded & {"shtab", "litestar", "pricetime_client", "rich"}
