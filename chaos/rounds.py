"""One round in a process of its own: `python -m chaos.rounds NAME RESULT [CONTROL]`.

It runs in namespaces of its own where the machine has them, so its loopback, mounts and processes are nobody else's and
all of them end with it, whatever happens.
"""

import asyncio
import contextlib
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from chaos import all_kinds
from chaos.exchange import Exchange, NotReady, exchange
from chaos.judge import judged, post_mortem
from chaos.loop_disk import LoopDisk
from chaos.machine import APART, NAMESPACES, allows, is_apart, sh
from chaos.results import RoundResult
from chaos.run import Run, Unrecovered, running
from chaos.schedule import Round
from cli.processes import Program, spawn_options

_KINDS = all_kinds.KINDS
_OPTIONS = {"standby": ("--standby",), "cluster": ("--nats-nodes", "3")}
_SETTINGS = {
    "snapshots": {"PRICETIME_SNAPSHOT_COMMITS": "60", "PRICETIME_JOURNAL_KEEP_COMMITS": "1000"},
}
KEPT = Path(tempfile.gettempdir()) / "pricetime-chaos-failed"
_FAULT_SECONDS = 25.0
_ROUND_SECONDS = 240.0


async def play(made: Round, control: str | None = None) -> RoundResult:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pricetime-chaos-", ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        os.chmod(work, 0o755)  # Postgres runs as a user of its own and must pass through
        async with _prepared(made, work, control) as prepared:
            result = await _play(made, prepared)
            if result.violations:
                _keep(made, prepared, result)
    return msgspec.structs.replace(result, seconds=round(time.monotonic() - began, 1))


@asynccontextmanager
async def _prepared(made: Round, work: Path, control: str | None) -> AsyncIterator[Exchange]:
    disk = LoopDisk(work) if made.profile == "disk" else None
    if disk is not None:
        await asyncio.to_thread(disk.open)
    try:
        data = (work if disk is None else disk.folder) / "data"
        options, settings = _OPTIONS.get(made.profile, ()), _SETTINGS.get(made.profile, {})
        async with exchange(work, data, options, settings, control) as prepared:
            prepared.disk = disk
            yield prepared
    finally:
        if disk is not None:
            await asyncio.to_thread(disk.close)


async def _play(made: Round, prepared: Exchange) -> RoundResult:
    """Never raises: what went wrong is in the result, as a violation."""
    run: Run | None = None
    violations: list[str] = []
    commits = 0
    try:
        async with running(prepared, made.seed, random.Random(made.seed)) as (run, crowd):
            try:
                for name in made.kinds:
                    await run.inject(name, _KINDS[name].inject)
                    crowd.check()
                violations, records = await judged(run, crowd)
                commits = len(records.journal)
            except (Unrecovered, NotReady) as error:
                violations = [f"recovery: {error}", *await post_mortem(run)]
        await prepared.stop()
    except (Unrecovered, NotReady) as error:
        violations.append(f"recovery: {error}")
    except Exception:
        violations.append(f"harness: {traceback.format_exc()[-3000:]}")
    return RoundResult(
        seed=made.seed,
        profile=made.profile,
        name=made.name,
        injected=tuple(run.injected) if run else (),
        not_injected=tuple(run.not_injected) if run else (),
        violations=tuple(violations),
        acknowledged=run.log.acknowledged if run else 0,
        operations=len(run.log.operations) if run else 0,
        commits=commits,
    )


def _keep(made: Round, prepared: Exchange, result: RoundResult) -> None:
    """What a person needs to find out why."""
    kept = KEPT / f"{made.profile}-{made.seed}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    with suppress(OSError):
        shutil.copytree(prepared.data / "logs", kept / "logs")
    for node in prepared.data.glob("nats-?"):  # what each of a cluster holds: small, and the only proof of a loss
        with suppress(OSError):
            shutil.copytree(node, kept / node.name)
    for name in ("up.out", "rebuild.out"):
        with suppress(OSError):
            shutil.copy(prepared.work / name, kept / name)
    (kept / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))


def play_apart(made: Round, control: str | None = None, *, apart: bool | None = None) -> RoundResult:
    """The round in its own process. `apart`: in namespaces of its own; None: where that is possible."""
    with tempfile.TemporaryDirectory(prefix="pricetime-chaos-result-") as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "chaos.rounds", made.name, str(result), *([control] if control else [])]
        environment = {"CHAOS_RECOVERY_SECONDS": "20"} if control else {}
        if allows("namespaces") if apart is None else apart:
            command = [*NAMESPACES, *command]
            environment[APART] = "1"
        program = Program(name="round", command=tuple(command), environment=environment)
        seconds = _ROUND_SECONDS + _FAULT_SECONDS * len(made.kinds)
        options = spawn_options(program, subprocess.PIPE)
        with subprocess.Popen(command, **options) as process:
            try:
                output, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
        if not result.exists():
            why = f"harness: the round ended with {process.returncode}:\n{output.decode(errors='replace')[-3000:]}"
            return RoundResult(seed=made.seed, profile=made.profile, name=made.name, violations=(why,))
        return msgspec.json.decode(result.read_bytes(), type=RoundResult)


def main(name: str, result: Path, control: str | None = None) -> None:
    if is_apart():
        sh("ip", "link", "set", "lo", "up")
    logging.basicConfig(level=logging.ERROR)
    with contextlib.suppress(KeyboardInterrupt):
        played = asyncio.run(play(Round.named(name), control))
        result.write_bytes(msgspec.json.encode(played))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:4])
