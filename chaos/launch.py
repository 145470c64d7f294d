"""`pricetime up` as a chaos run starts it: `python -m chaos.launch FOLDER up ...`.

The supervisor, its parts and their settings are the product's. Each service is started through chaos/service.py, and
reaches NATS and Postgres through the proxies that FOLDER/proxies.json names; FOLDER/targets.json tells those where the
servers really are.
"""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaos.service import CONTROL, FOLDER
from cli.main import main as pricetime
from cli.processes import Program
from cli.supervisor import Supervisor

PROXIES, TARGETS, CONTROLLED = "proxies.json", "targets.json", "control"
ROOT = Path(__file__).parent.parent
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")


def rebuilt(program: Program, folder: Path) -> Program:
    """The program with its service wrapped and its ways to the servers led through the proxies; others as they are."""
    if program.command[:3] != (sys.executable, "-P", "-m"):
        return program
    module = program.command[3]
    environment = dict(program.environment) | {"PYTHONPATH": str(ROOT), FOLDER: str(folder)}
    if (folder / CONTROLLED).exists():
        environment[CONTROL] = (folder / CONTROLLED).read_text()
    ports = json.loads((folder / PROXIES).read_text()).get(program.name, {})
    targets: dict[str, int] = {}
    for name, port in ports.items():
        setting = f"PRICETIME_{name.upper()}_URL"
        if setting in environment and "," not in environment[setting]:  # the nodes of a cluster are reached directly
            found = _PORT.search(environment[setting])
            assert found, environment[setting]
            targets[str(port)] = int(found.group())
            environment[setting] = _PORT.sub(str(port), environment[setting], count=1)
    _tell(folder, targets)
    command = (*program.command[:3], "chaos.service", module, program.name, *program.command[4:])
    return replace(program, command=command, environment=environment)


def _tell(folder: Path, targets: dict[str, int]) -> None:
    file = folder / TARGETS
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(known | targets))
    os.replace(fresh, file)


def main(folder: Path, arguments: list[str]) -> int:
    start = Supervisor.start

    async def start_rebuilt(self: Supervisor, program: Program) -> None:
        await start(self, rebuilt(program, folder))

    supervisor: Any = Supervisor
    supervisor.start = start_rebuilt
    return pricetime(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
