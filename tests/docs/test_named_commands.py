"""Every command on every page is one that there is: with these words, options, targets, services and files.

Goal: what is named in the middle of a sentence, or takes minutes or an engine of containers and so is run by no test
here, does not go stale all the same. Method: each is given to the parser that it would meet, which is then content, or
says what is wrong; what is behind a target of make likewise.
"""

import argparse
import importlib.util
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import make_parser
from runtime.settings import Settings
from tests.support.command_lines import ROOT, Command, commands_of, simple_commands

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KNOWN_ELSEWHERE = {"pricetime gateway": "what the gateway's connections to Postgres call themselves"}
OUTSIDE = ("websockets",)
"""Packages that `python -m` may name though they are not ours."""


@cache
def commands() -> dict[Path, list[Command]]:
    return {page: list(commands_of(page)) for page in PAGES}


def all_commands() -> list[Command]:
    return [command for found in commands().values() for command in found]


@pytest.fixture(scope="module")
def judge() -> Callable[[Command], None]:
    def judge_it(command: Command) -> None:
        if " ".join(command.words) not in KNOWN_ELSEWHERE:
            JUDGES[command.program](command)

    return judge_it


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_are_ones_that_there_are(page: Path, judge: Callable[[Command], None]) -> None:
    for command in commands()[page]:
        judge(command)


def test_there_are_as_many_as_one_sees() -> None:
    found = {program: sum(each.program == program for each in all_commands()) for program in JUDGES}
    assert found["pricetime"] > 200
    assert found["python"] > 50
    assert found["make"] > 40
    assert found["docker"] > 50
    assert found["nats"] > 50
    assert found["sh"] > 5


def test_what_stands_for_itself_is_still_on_a_page() -> None:
    assert set(KNOWN_ELSEWHERE) <= {" ".join(command.words) for command in all_commands()}


# pricetime


@cache
def _pricetime() -> argparse.ArgumentParser:
    return make_parser()


def _judge_pricetime(command: Command) -> None:
    words = list(command.words[1:])
    if "options" in words or (command.in_a_sentence and _is_name(words)):  # a line of usage, made from the parser
        return
    _parsed(_pricetime().parse_args, words, command)


def _is_name(words: list[str]) -> bool:
    """Of a command, of one below it, or of its options."""
    parser = _pricetime()
    for word in words:
        below = [each.choices for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
        if below and word in below[0]:
            parser = below[0][word]
        elif word not in parser._option_string_actions:
            return False
    return True


def _parsed(parse: Callable[[list[str]], Any], words: list[str], command: Command) -> None:
    try:
        parse(words)
    except SystemExit as ended:
        if ended.code != 0:
            pytest.fail(f"{command}: see what it says above")


# python -m


class _IsParsed(BaseException):
    """What it was given is understood; nothing of it is to be done."""


def _judge_python(command: Command) -> None:
    """A file is one that a page says to save, and `-c` a program: both are run by other tests."""
    if command.words[1] != "-m":
        assert command.words[1] == "-c" or command.words[1].endswith(".py"), command
        return
    module, *arguments = command.words[2:]
    assert importlib.util.find_spec(module), command
    if module not in OUTSIDE:
        _run_until_parsed(module, arguments, command)


def _run_until_parsed(module: str, arguments: list[str], command: Command) -> None:
    careful = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        careful(self, args, namespace)
        raise _IsParsed

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it is imported already
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", [module, *arguments])
        if not _takes_arguments(module):
            assert not arguments, command
            return
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except _IsParsed:
            return
        except SystemExit as error:
            pytest.fail(f"{command}: ended with {error.code}; see what it says above")
    pytest.fail(f"{command}: has read no arguments")


def _takes_arguments(module: str) -> bool:
    """Services are told by settings."""
    found = importlib.util.find_spec(f"{module}.__main__" if _is_package(module) else module)
    assert found is not None, f"{module} cannot be run"
    assert found.origin is not None
    return "parse_args(" in Path(found.origin).read_text()


def _is_package(module: str) -> bool:
    found = importlib.util.find_spec(module)
    return found is not None and found.submodule_search_locations is not None


# make


def _judge_make(command: Command) -> None:
    """What it would do is judged as if the page said so."""
    told = _told(command.words[1:])
    assert told is not None, f"{command}: make does not know it"
    makefile = (ROOT / "Makefile").read_text()
    for name in (word.partition("=")[0] for word in command.words[1:] if "=" in word):
        assert f"$({name})" in makefile, f"{command}: nothing looks at {name}"
    for words in simple_commands(told.replace("$(nproc)", "2")):
        if words[:2] == ("python", "-m") and not words[2].startswith(("pip", "pytest", "venv")):
            _judge_python(Command(f"{command}, which runs", words))


@cache
def _told(words: tuple[str, ...]) -> str | None:
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout if done.returncode == 0 else None


# docker


@cache
def _services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


_COMPOSE = (
    *("up", "down", "run", "ps", "logs", "stop", "start", "restart", "kill", "build", "config", "exec", "cp"),
    "version",
)
_ALWAYS_NAMES = ("logs", "stop", "start", "restart")
_VALUED = ("--profile", "--wait-timeout", "--tail", "--format", "-s")


def _judge_docker(command: Command) -> None:
    if command.words[1] != "compose" or len(command.words) == 2:
        return
    words = list(command.words[2:])
    profiles = {profile for service in _services().values() for profile in service.get("profiles", ())}
    while "--profile" in words:
        at = words.index("--profile")
        assert words[at + 1] in profiles, command
        del words[at : at + 2]
    action, *rest = _without_options(words)
    assert action in _COMPOSE, command
    if action in ("run", "exec"):
        assert rest[0] in _services(), command
        if rest[0] == "operator":
            at = command.words.index("operator")
            _judge_pricetime(Command(command.where, ("pricetime", *command.words[at + 1 :]), command.in_a_sentence))
    elif action in ("up", *_ALWAYS_NAMES):
        assert {*rest} - {"PART"} <= set(_services()), command


def _without_options(words: list[str]) -> list[str]:
    found: list[str] = []
    skips = False
    for word in words:
        if not skips and not word.startswith("-"):
            found.append(word)
        skips = word in _VALUED
    return found


# sh, nats


def _judge_sh(command: Command) -> None:
    if len(command.words) > 1:
        assert (ROOT / command.words[1]).is_file(), command


_NATS: dict[str, tuple[str, ...]] = {
    "req": (),
    "sub": (),
    "stream": ("info", "get", "view", "ls", "edit"),
    "consumer": ("add", "next", "rm", "info"),
    "kv": ("get", "del"),
    "micro": ("ls", "info", "stats"),
    "server": ("report",),
}
"""What of it the pages use, with what comes next; natscli has more."""


def _judge_nats(command: Command) -> None:
    """tests/test_nats_docs.py sends what the lines of docs/nats.md would send."""
    words = list(command.words[1:])
    while words and words[0].startswith("-"):
        del words[:2]
    if words:
        assert words[0] in _NATS, command
        assert not _NATS[words[0]] or words[1] in _NATS[words[0]], command


JUDGES: dict[str, Callable[[Command], None]] = {
    "pricetime": _judge_pricetime,
    "python": _judge_python,
    "make": _judge_make,
    "docker": _judge_docker,
    "sh": _judge_sh,
    "nats": _judge_nats,
}


# Variables


def _variables_of_the_program() -> set[str]:
    """Those that its code, its containers and its tools look at; of settings each has one."""
    found = {f"PRICETIME_{name.upper()}" for name in Settings.__struct_fields__}
    for folder in ("cli", "pricetime_client", "nats", "proxy", "demo", "runtime"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".sh", ".conf", "") and path.is_file():
                found.update(re.findall(r"PRICETIME_[A-Z0-9_]*[A-Z0-9]", path.read_text(errors="replace")))
    for name in ("docker-compose.yml", "Makefile", "Dockerfile"):
        found.update(re.findall(r"PRICETIME_[A-Z0-9_]*[A-Z0-9]", (ROOT / name).read_text()))
    return found


def test_every_variable_that_a_page_names_is_looked_at() -> None:
    known = _variables_of_the_program()
    for page in PAGES:
        named = set(re.findall(r"PRICETIME_[A-Z0-9_]*[A-Z0-9]\b(?!_)", page.read_text()))
        assert named <= known, page


# It notices


def _on_a_page(text: str) -> Iterator[Command]:
    return commands_of(Path("/page.md"), text)


@pytest.mark.parametrize(
    "text",
    [
        "```sh\npricetime up --no-such-option\n```\n",
        "```sh\ncd x && pricetime sell 1\n```\n",
        '```sh\nnats -s "$(pricetime nats-users adress operator)" stream info COMMANDS\n```\n',
        "Say `pricetime journal --sequence first`.\n",
        "Say `pricetime hand-over`.\n",
        "```sh\nPRICETIME_KEY=x .venv/bin/pricetime orders --statuses open\n```\n",
        "    make faster\n",
        "Say `make chaos FAULT=10`.\n",
        '```sh\nmake page-load ARGS="--hours 10"\n```\n',
        "Say `python -m bench --only fix`.\n",
        "Say `python -m benchmark`.\n",
        "Say `python -m matcher --standby`.\n",
        "```\n$ docker compose --profile observer up\n```\n",
        "Say `docker compose logs match`.\n",
        "Say `docker compose run --rm operator state`.\n",
        "```sh\nsh nats/make-environment.sh\n```\n",
        "Say `nats streams ls`.\n",
    ],
)
def test_what_there_is_not_is_noticed(
    text: str, judge: Callable[[Command], None], capsys: pytest.CaptureFixture[str]
) -> None:
    *fine, wrong = sorted(_on_a_page(text), key=lambda command: command.program == "pricetime")
    for command in fine:
        judge(command)
    with pytest.raises((AssertionError, ModuleNotFoundError, pytest.fail.Exception)):
        judge(wrong)
    capsys.readouterr()


def test_all_of_a_line_is_seen() -> None:
    text = (
        "```sh\nX=1 pricetime order buy 1 \\\n  --market | jq . && make up  # pricetime no\n"
        'curl -d \'{\n "a": "b c"}\' x; sh a.sh >out\n```\nIt\'s `pricetime journal --sequence N..M [--data DIR]`,\n'
        "    make test\n\n```text\npricetime nothing\n```\n\n```\n$ pricetime status\nIt's well\n```\n"
    )
    assert [" ".join(each.words) for each in _on_a_page(text)] == [
        "pricetime order buy 1 --market",
        "make up",
        "sh a.sh",
        "pricetime status",
        "make test",
        "pricetime journal --sequence 1..2 --data DIR",
    ]
