"""docs/cli.md: every command of the terminal with every option, made from the commands themselves.

python -m tools.cli_reference --write     after a change of a command; a test holds that the page is up to date
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.main import COMMANDS, GROUPS, examples, make_parser

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"

_HEAD = """\
# The terminal

Every command of `pricetime`, with every option. This page is made from the commands themselves, by
`python -m tools.cli_reference --write`.

```sh
pricetime up                                         # in one terminal
pricetime status                                     # in another
pricetime order buy 1.5 BTC-USD --price 99.50
pricetime book BTC-USD
pricetime journal --order 1
```

- **Which exchange?** The one that runs on the folder `.pricetime` where you are; `--data DIR` names another folder.
  Commands that trade reach one anywhere by `--url URL` or the variable `PRICETIME_URL`, those that look after it by
  `--nats URL` or `PRICETIME_NATS_URL`.
- **Which order?** A number is its id. Your own name for it (`--client-order-id`) is good within its account,
  `--account A`; where that name is a number itself, write `name:17`.
- **Keys.** Where there are [keys](access.md), commands that trade take theirs from the variable `PRICETIME_KEY` or from
  a file, `--key-file FILE`: never as an option, which others on the machine could read.
- **Sent once.** What has no answer is sent again until there is one, for ten seconds; an order is placed once all the
  same. If there is still none, the line that says so tells how to go on.
- **For scripts.** `--json` prints a line of JSON for each thing, with the fields of REST. What is shown live is plain
  lines where the output is no terminal. Prices and quantities are decimals as the exchange writes them, times are UTC.
- **When something is wrong**, one line on stderr says what, and what to do. Exit status: 0 done; 1 done, and what was
  looked for is not well (`status`, `verify`, `rebuild`); 2 not done; 130 after Ctrl-C.
- **Tab** completes commands, options and symbols: [`pricetime completion`](#pricetime-completion).
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.cli_reference", description="Makes docs/cli.md.")
    parser.add_argument("--write", action="store_true", help="write it, instead of showing it")
    text = page()
    if parser.parse_args().write:
        PAGE.write_text(text)
    else:
        print(text, end="")
    return 0


def page() -> str:
    commands = _commands_of(make_parser())
    parts = [_HEAD]
    for title, names in GROUPS.items():
        parts.append(f"## {title[0].upper()}{title[1:]}\n")
        parts += [section for name in names for section in _command(name, commands[name])]
    return "\n".join(parts)


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers below this one, by name."""
    found = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return {name: below for action in found for name, below in action.choices.items()}


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"### pricetime {name}\n"
    module, summary = COMMANDS[name]
    yield f"{summary[0].upper()}{summary[1:]}.\n"
    if shown := examples(importlib.import_module(module)):
        yield f"```\n{shown}\n```\n"
    yield from _options(parser)
    for below, each in _commands_of(parser).items():
        yield f"**`{_usage(each)}`**: {_summary(parser, below)}\n"
        yield from _options(each, without=parser)
    if parser.epilog:
        yield f"{parser.epilog}\n"


def _summary(parser: argparse.ArgumentParser, name: str) -> str:
    (action,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return next(each.help or "" for each in action._choices_actions if each.dest == name)


def _options(parser: argparse.ArgumentParser, without: argparse.ArgumentParser | None = None) -> Iterator[str]:
    """A table of what it takes, but for what was told of the parser above it."""
    told = {option for action in without._actions for option in action.option_strings} if without else set()
    rows = [
        (_name(action), parser._get_formatter()._expand_help(action) if action.help else "")
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        and not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
        and not told.intersection(action.option_strings)
    ]
    if rows and without is None:
        yield f"`{_usage(parser)}`\n"
    if rows:
        yield "\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(text)} |" for name, text in rows)]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _name(action: argparse.Action) -> str:
    """
    `-n`, `--last N`
    """
    if not action.option_strings:
        return f"`{_value(action)}`"
    return ", ".join(f"`{name}`" for name in [*action.option_strings[:-1], _option(action)])


def _option(action: argparse.Action) -> str:
    """By its long name, with its value."""
    return action.option_strings[-1] + (f" {_value(action)}" if action.nargs != 0 else "")


def _value(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "\\|".join(str(choice) for choice in action.choices)
    return str(action.metavar or action.dest.upper())


def _usage(parser: argparse.ArgumentParser) -> str:
    """Its positional arguments; the rest is options."""
    words = [parser.prog]
    for action in parser._actions:
        if action.option_strings:
            continue
        word = _value(action).replace("\\|", "|")
        words.append({"?": f"[{word}]", "*": f"[{word} ...]"}.get(str(action.nargs), word))
    for group in parser._mutually_exclusive_groups:
        if group.required:
            words.append(" | ".join(_option(action) for action in group._group_actions))
    return " ".join([*words, "[options]"])


if __name__ == "__main__":
    sys.exit(main())
