"""`pricetime up` whose services write down when orders pass by: `python -m bench.stamped FOLDER up ...`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.stamps import FOLDER, POINTS
from cli.main import main as pricetime
from cli.processes import Program
from cli.supervisor import Supervisor

ROOT = Path(__file__).parent.parent
_SERVICES = frozenset(point.service for point in POINTS)


def stamped(program: Program, folder: Path) -> Program:
    """The service started through bench/stamps.py; servers as they are."""
    if program.name not in _SERVICES:
        return program
    *python, module = program.command
    environment = {**program.environment, "PYTHONPATH": str(ROOT), FOLDER: str(folder)}
    return replace(program, command=(*python, "bench.stamps", module, program.name), environment=environment)


def main(folder: Path, arguments: list[str]) -> int:
    start = Supervisor.start

    async def start_stamped(self: Supervisor, program: Program) -> None:
        await start(self, stamped(program, folder))

    supervisor: Any = Supervisor
    supervisor.start = start_stamped
    return pricetime(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
