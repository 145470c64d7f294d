"""`make compose-test`: docker compose up for real, on an engine of our own, and what has to hold when parts are killed.

    python -m tests.compose.run [--lab DIR] [--write] [--only NAME,NAME]

Needs root, debootstrap, Chromium, ten minutes and 7 GB below DIR (default: /tmp/pricetime-compose), where what is made
the first time is kept for the next. What is tried is what is committed. The log is DIR/log.md; with --write it becomes
docs/compose-run.md, too.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.compose.engine import Engine, enter_namespaces
from tests.compose.exchange import Expected
from tests.compose.images import ROOT, ImageError, Lab, import_images, prepare
from tests.compose.log import CommandFailed, Log
from tests.compose.scenarios import SCENARIOS, Compose

PAGE = ROOT / "docs" / "compose-run.md"
_INTRODUCTION = """\
# Docker compose, run for real

Written by `make compose-test`, on {date}: a Docker engine on a machine without a registry, so the images that
[docker-compose.yml](../docker-compose.yml) asks for were made there by [tests/compose](../tests/compose/images.py).
What runs in them is the real thing (nats-server and PostgreSQL 18 from the wheels of `pricetime up`, Python, Caddy and
Prometheus of Debian 13); the official images' own base and entrypoints are not what was tried. Output is shortened; a
line with `#` is what the test saw.
"""


def main() -> int:
    arguments = _arguments()
    try:
        if not os.environ.get("PRICETIME_COMPOSE_INSIDE"):
            prepare(Lab(arguments.lab), _say)
        code = enter_namespaces("tests.compose.run", sys.argv[1:])
        return _inside(arguments) if code is None else code
    except (ImageError, CommandFailed, Expected) as error:
        _say(f"compose-test: {error}")
        return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make compose-test", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lab", type=Path, default=Path("/tmp/pricetime-compose"), metavar="DIR")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--only", default=",".join(SCENARIOS), metavar="NAME,NAME", help=f"of {', '.join(SCENARIOS)}")
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return arguments


def _inside(arguments: argparse.Namespace) -> int:
    lab = Lab(arguments.lab)
    source = _checked_out(lab.folder / "source")
    log, engine = Log(_say), Engine(lab)
    log.lines.append(_INTRODUCTION.format(date=datetime.now(UTC).date()).rstrip())
    with engine.running(source):
        compose = Compose(engine, log, source)
        compose.without_image = import_images(lab, engine.docker, _say)
        try:
            compose.introduce()
            for name in arguments.only.split(","):
                SCENARIOS[name](compose)
        except Exception:
            _say(compose.state())
            raise
        finally:
            (lab.folder / "log.md").write_text(log.page)
            compose.clear()
    if arguments.write:
        PAGE.write_text(log.page)
    _say(f"\nAll of {arguments.only} passed.")
    return 0


def _checked_out(folder: Path) -> Path:
    """What is committed, and nothing that lies about."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def _say(line: str) -> None:
    print(line, flush=True)


Scenario = Callable[[Compose], None]

if __name__ == "__main__":
    sys.exit(main())
