"""`pricetime up` as a chaos run starts it: `python -m chaos.launch FOLDER up ...`.

The supervisor, its parts and their settings are the product's. Each service is started through chaos/service.py, and
reaches NATS and Postgres through the proxies that FOLDER/proxies.json names; FOLDER/targets.json tells those where the
servers really are.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from chaos.controls import NO_SYNC, unsynced
from chaos.service import CONTROL, FOLDER
from cli.main import main as pricetime
from cli.processes import Program
from cli.supervisor import Supervisor

NODES = ("nats-1", "nats-2", "nats-3")
PROXIES, TARGETS, CONTROLLED = "proxies.json", "targets.json", "control"
ROOT = Path(__file__).parent.parent
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")
_NOWHERE = ("--cluster_advertise", "127.0.0.1:1")
"""Nodes tell one another where each listens, and connect there: past all proxies, so none could be cut off for good.
Nobody listens there, so they keep to the routes that they are given."""


def rebuilt(program: Program, folder: Path) -> Program:
    """The program with its service wrapped and its ways to the servers led through the proxies; others as they are."""
    environment = dict(program.environment)
    _lead_through_proxies(program.name, environment, folder)
    if program.command[:3] != (sys.executable, "-P", "-m"):
        command = (*_controlled(program, folder), *(_NOWHERE if program.name in NODES else ()))
        return replace(program, command=command, environment=environment)
    module = program.command[3]
    environment |= {"PYTHONPATH": str(ROOT), FOLDER: str(folder)}
    if (folder / CONTROLLED).exists():
        environment[CONTROL] = (folder / CONTROLLED).read_text()
    command = (*program.command[:3], "chaos.service", module, program.name, *program.command[4:])
    return replace(program, command=command, environment=environment)


def _controlled(program: Program, folder: Path) -> tuple[str, ...]:
    """nats-server as the negative control wants it, if this run is that one."""
    control = folder / CONTROLLED
    if not program.name.startswith("nats") or not control.exists() or control.read_text() != NO_SYNC:
        return program.command
    changed = folder / f"{program.name}.conf"
    changed.write_text(unsynced(Path(program.command[2])))
    return (*program.command[:2], str(changed))


def _lead_through_proxies(name: str, environment: dict[str, str], folder: Path) -> None:
    ports: dict[str, int] = json.loads((folder / PROXIES).read_text()).get(name, {})
    targets: dict[str, int] = {}
    for reached, port in ports.items():
        setting = (
            f"PRICETIME_NATS_ROUTE_{reached[-1]}" if reached[-1].isdecimal() else f"PRICETIME_{reached.upper()}_URL"
        )
        address = environment.get(setting, "")
        found = _PORT.search(address)
        if found is not None and "," not in address:  # clients of a cluster reach its nodes directly
            targets[str(port)] = int(found.group())
            environment[setting] = _PORT.sub(str(port), address, count=1)
    _tell(folder, targets)


def _tell(folder: Path, targets: dict[str, int]) -> None:
    file = folder / TARGETS
    known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(known | targets))
    os.replace(fresh, file)


def run(arguments: list[str], changed: Callable[[Program], Program]) -> int:
    """`pricetime`, with each program that it starts changed before."""
    start = Supervisor.start

    async def start_changed(self: Supervisor, program: Program) -> None:
        await start(self, changed(program))

    supervisor: Any = Supervisor
    supervisor.start = start_changed
    return pricetime(arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:], partial(rebuilt, folder=Path(sys.argv[1]))))
