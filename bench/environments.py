"""Python environments apart from ours, for what is compared with ours: none of it is in requirements.lock."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.programs import NotStarted


async def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The Python of an environment with these packages; made unless it is there. Raises NotStarted if it cannot be."""
    python = folder / "bin" / "python"
    done = folder / "requirements.txt"
    wanted = "\n".join(requirements)
    if not (done.exists() and done.read_text() == wanted):
        await run_to_end(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
        install = ("-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "--quiet")
        await run_to_end(sys.executable, *install, *requirements)
        done.write_text(wanted)
    return python


async def run_to_end(*command: str, **variables: str) -> None:
    """Raises NotStarted, with what it said, when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise NotStarted(f"{' '.join(command[1:])} failed. It said:\n{said.decode()[-1000:]}")
