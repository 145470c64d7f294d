"""The `pricetime` command. Each subcommand is a module with `add_arguments(parser)` and `run(arguments) -> int`.

To add one: write the module and give it a line in COMMANDS. Only the module that is asked for is imported.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cli.errors import CommandError
from runtime.service import Refused

COMMANDS = {
    "up": ("cli.up", "run the exchange on this machine until Ctrl-C"),
    "handover": ("cli.handover", "let the matcher that stands by go on in place of the one that serves"),
    "restart": ("cli.restart", "restart the services of a running exchange one after the other, losing nothing"),
    "replay": ("cli.replay", "send a file of real order flow to a running exchange"),
    "verify": ("cli.verify", "prove that journal, book and Postgres of a running exchange agree"),
    "rebuild": ("cli.rebuild", "make the journal or Postgres of a stopped exchange anew from what is left of both"),
    "keys": ("cli.keys", "API keys: who may read, trade and administer"),
    "nats-users": ("cli.nats_users", "logins for NATS that act for one account, or read market data"),
    "bench": ("cli.bench", "measure speed, each figure beside its floor"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(next((each for each in given if not each.startswith("-")), None))
    parsed = parser.parse_args(given)
    try:
        code: int = parsed.run(parsed)
    except (CommandError, Refused) as error:
        print(f"pricetime: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pricetime",
        description="An exchange in a box: orders matched in price-time priority, answered when they are on disk.",
    )
    parser.add_argument("--version", action="version", version=f"pricetime {version('pricetime')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == chosen:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
