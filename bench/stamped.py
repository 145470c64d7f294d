"""`pricetime up` whose services write down when orders pass by: `python -m bench.stamped FOLDER up ...`."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.stamps import FOLDER, POINTS
from chaos.launch import run
from cli.processes import Program

ROOT = Path(__file__).parent.parent
_SERVICES = frozenset(point.service for point in POINTS)


def stamped(program: Program, folder: Path) -> Program:
    """The service started through bench/stamps.py; servers as they are."""
    if program.name not in _SERVICES:
        return program
    *python, module = program.command
    environment = {**program.environment, "PYTHONPATH": str(ROOT), FOLDER: str(folder)}
    return replace(program, command=(*python, "bench.stamps", module, program.name), environment=environment)


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:], partial(stamped, folder=Path(sys.argv[1]))))
