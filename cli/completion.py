"""`pricetime completion bash|zsh|fish`: a script for the shell, so that Tab completes commands, options and symbols.

    eval "$(pricetime completion bash)"                                  in ~/.bashrc
    pricetime completion zsh > ~/.zfunc/_pricetime                       a folder of $fpath, before compinit
    pricetime completion fish > ~/.config/fish/completions/pricetime.fish

The script is complete in itself: nothing is run at Tab, except to complete the symbols of the exchange that runs.
Why like this: docs/decisions/0040.
"""

import argparse
from collections.abc import Iterator

from cli.errors import CommandError

SHELLS = ("bash", "zsh", "fish")
_SYMBOLS = "pricetime instruments --names 2>/dev/null"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def run(arguments: argparse.Namespace) -> int:
    print(script(arguments.shell))
    return 0


def script(shell: str) -> str:
    """Made from the options of all commands, so their modules are imported here."""
    from cli.main import make_parser  # which imports us

    try:
        import shtab
    except ModuleNotFoundError as error:
        raise CommandError("completion needs the package shtab: pip install shtab") from error
    parser = make_parser()
    completed = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "S": shtab.cmd(_SYMBOLS), "SYMBOL": shtab.cmd(_SYMBOLS)}
    for action in _actions(parser):
        if isinstance(action.metavar, str) and action.metavar in completed:
            action.complete = completed[action.metavar]  # type: ignore[attr-defined]  # where shtab looks for it
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Of the parser, and of all those below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
