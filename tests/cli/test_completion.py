"""`pricetime completion`: what a real bash offers at Tab, and that the scripts for the others are whole."""

import subprocess
from pathlib import Path

import pytest

from cli.completion import SHELLS, script
from cli.main import COMMANDS, main

# What bash does at Tab: it sets these variables, and calls the function that `complete` was told.
TAB = """
source "$1"; shift
line="pricetime $*"
COMP_WORDS=(pricetime "$@"); COMP_CWORD=$#; COMP_LINE=$line; COMP_POINT=${#line}; COMPREPLY=()
function=$(complete -p pricetime | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" pricetime "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "pricetime.bash"
    file.write_text(script("bash"))
    return file


def offered(bash_script: Path, *words: str, path: str = "/usr/bin:/bin") -> set[str]:
    """What Tab offers after these words, the last of which is not finished."""
    command = ["bash", "-c", TAB, "tab", str(bash_script), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20, env={"PATH": path})
    return set(done.stdout.split())


def test_every_command_is_offered(bash_script: Path) -> None:
    assert offered(bash_script, "") == set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("jo",), {"journal"}),
        (("journal", "--s"), {"--sequence", "--symbol", "--since"}),
        (("keys", ""), {"create", "list", "revoke"}),
        (("keys", "create", "--all"), {"--all-accounts"}),
        (("instruments", "p"), {"post-only"}),
        (("order", "b"), {"buy"}),
        (("order", "buy", "1", "X", "--tif", "F"), {"FOK"}),
        (("completion", ""), set(SHELLS)),
    ],
)
def test_what_can_follow_is_offered(bash_script: Path, words: tuple[str, ...], expected: set[str]) -> None:
    assert offered(bash_script, *words) == expected


def test_symbols_are_asked_of_the_exchange(bash_script: Path, tmp_path: Path) -> None:
    """By the command itself, wherever it is on the path."""
    asked = tmp_path / "pricetime"
    asked.write_text('#!/bin/sh\n[ "$*" = "instruments --names" ] && printf "BTC-USD\\nETH-USD\\n"\n')
    asked.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    assert offered(bash_script, "book", "", path=path) == {"BTC-USD", "ETH-USD"}
    assert offered(bash_script, "orders", "--symbol", "E", path=path) == {"ETH-USD"}


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_with_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    made = capsys.readouterr().out
    assert all(name in made for name in COMMANDS)


def test_another_shell_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
