"""The `pricetime` command. Each subcommand is a module with `add_arguments(parser)` and `run(arguments) -> int`.

To add one: write the module and give it a line in GROUPS. Only the module that is asked for is imported.
"""

import argparse
import difflib
import importlib
import os
import sys
import textwrap
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from cli.errors import CommandError
from runtime.service import Refused

Commands = dict[str, tuple[str, str]]

GROUPS: dict[str, Commands] = {
    "run it": {
        "up": ("cli.up", "run the exchange on this machine until Ctrl-C"),
        "demo": ("cli.demo", "run it with simulated traders, so that there is something to see"),
        "status": ("cli.status", "how every part is, how far it has come, and what to look at"),
        "restart": ("cli.restart", "restart the services of a running exchange one after the other, losing nothing"),
        "handover": ("cli.handover", "let the matcher that stands by go on in place of the one that serves"),
    },
    "trade": {
        "order": ("cli.order", "place an order"),
        "amend": ("cli.amend", "change the price or quantity of an open order"),
        "cancel": ("cli.cancel", "cancel orders, one by one or all that fit"),
        "orders": ("cli.orders", "open orders, past ones, or one with its whole life"),
        "book": ("cli.book", "the order book of a symbol, live"),
        "trades": ("cli.trades", "the trades of a symbol, or of all, live"),
    },
    "administer": {
        "instruments": ("cli.instruments", "what can be traded: list, define, halt, resume, delist"),
        "keys": ("cli.keys", "API keys: who may read, trade and administer"),
        "nats-users": ("cli.nats_users", "logins for NATS that act for one account, or read market data"),
    },
    "know and prove": {
        "journal": ("cli.journal", "what happened, commit by commit: by order, symbol, sequence or time"),
        "verify": ("cli.verify", "prove that journal, book and Postgres of a running exchange agree"),
        "rebuild": ("cli.rebuild", "make the journal or Postgres of a stopped exchange anew from what is left of both"),
        "replay": ("cli.replay", "send a file of real order flow to a running exchange"),
        "completion": ("cli.completion", "complete commands, options and symbols with Tab: a script for your shell"),
        "bench": ("cli.bench", "measure speed, each figure beside its floor"),
    },
}
"""By what somebody wants; `pricetime --help` shows them so."""
COMMANDS: Commands = {name: command for group in GROUPS.values() for name, command in group.items()}

_ROOT = Path(__file__).parent.parent
_PIPE_CLOSED = 141
"""What a shell says of a program whose reader has gone: `pricetime ... | head`."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        chosen = _chosen(given)
        parsed = make_parser(() if chosen is None else (chosen,)).parse_args(given)
        code: int = parsed.run(parsed)
        sys.stdout.flush()
    except (CommandError, Refused) as error:
        print(f"pricetime: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or it would be flushed once more at the end
        return _PIPE_CLOSED
    return code


def _chosen(given: Sequence[str]) -> str | None:
    """The command, if one is named. Raises CommandError when there is no such."""
    chosen = next((each for each in given if not each.startswith("-")), None)
    if chosen is None or chosen in COMMANDS:
        return chosen
    meant = difflib.get_close_matches(chosen, COMMANDS, 1)
    hint = f"did you mean `pricetime {meant[0]}`?" if meant else "see `pricetime --help`"
    raise CommandError(f"there is no command {chosen!r}; {hint}")


def make_parser(loaded: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """Knows the names of all commands, and the options of those in `loaded`."""
    parser = _Parser(
        prog="pricetime",
        formatter_class=_Grouped,
        description="An exchange in a box: orders matched in price-time priority, answered when they are on disk.",
        epilog="`pricetime COMMAND --help` says more of each; docs/cli.md has all of it on one page.",
    )
    parser.add_argument("--version", action="version", version=f"pricetime {version('pricetime')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in loaded:
            module = _module(name, module_name)
            command.formatter_class = _Help
            command.description = "\n\n".join(filter(None, [command.description, examples(module)]))
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _module(command: str, name: str) -> ModuleType:
    """Raises CommandError when a package is not installed that only some commands need."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or (_ROOT / error.name.partition(".")[0]).is_dir():
            raise
        raise CommandError(
            f"`pricetime {command}` needs the package {error.name}: pip install 'pricetime[local]'"
        ) from error


def examples(module: ModuleType) -> str:
    """The indented lines of a module's docstring, which show the command at work."""
    lines = [line for line in (module.__doc__ or "").splitlines() if line.startswith("    ")]
    return textwrap.dedent("\n".join(lines))


class _Parser(argparse.ArgumentParser):
    """Its errors are one line, like all others; and options may stand anywhere between what has no name."""

    _is_intermixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._is_intermixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        self._is_intermixing = True
        try:
            return super().parse_known_intermixed_args(args, namespace)
        finally:
            self._is_intermixing = False

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see: {self.prog} --help)\n")


class _Help(argparse.HelpFormatter):
    """Leaves examples as they are laid out."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        first, gap, rest = text.partition("\n\n")
        return super()._fill_text(first, width, indent) + gap + textwrap.indent(rest, "  ")


class _Grouped(argparse.HelpFormatter):
    """Commands under what they are for."""

    def _format_action(self, action: argparse.Action) -> str:
        if not isinstance(action, argparse._SubParsersAction):
            return super()._format_action(action)
        shown = {each.dest: each for each in self._iter_indented_subactions(action)}
        self._action_max_length += self._indent_increment  # argparse forgets that they are indented
        return "\n".join(self._group(title, [shown[name] for name in names]) for title, names in GROUPS.items())

    def _group(self, title: str, commands: Sequence[argparse.Action]) -> str:
        heading = f"{'':{self._current_indent}}{title}:\n"
        self._indent()
        lines = [super(_Grouped, self)._format_action(command) for command in commands]
        self._dedent()
        return "".join([heading, *lines])


if __name__ == "__main__":
    sys.exit(main())
