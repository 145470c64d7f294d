import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.crash_points import POINTS, CrashPoint, install, order_file
from chaos.launch import ROOT

PROGRAM = """
import asyncio, sys
from pathlib import Path
from chaos import crash_points
from chaos.crash_points import CrashPoint
folder = Path(sys.argv[1])
crash_points.POINTS = (CrashPoint("here", "the-point", "asyncio.tasks", "sleep", sys.argv[2]),)
crash_points.install("here", folder)
print("begun", flush=True)
asyncio.run(asyncio.tasks.sleep(0.05))
print("slept", flush=True)
"""


@pytest.mark.parametrize("service", sorted({point.service for point in POINTS}))
def test_every_point_is_there(service: str) -> None:
    """In a process of its own, for what is wrapped stays wrapped."""
    code = f"from pathlib import Path; from chaos.crash_points import install; install({service!r}, Path('/nowhere'))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_point_that_has_moved_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.crash_points.POINTS", (CrashPoint("x", "gone", "matcher.recovery", "no_such", "after"),))
    with pytest.raises(AttributeError, match="no_such"):
        install("x", Path("/nowhere"))


@pytest.mark.parametrize(
    ("named", "when", "code"),
    [("the-point", "before", -signal.SIGKILL), ("the-point", "after", -signal.SIGKILL), ("another", "before", 0)],
)
async def test_it_crashes_once_and_only_where_it_is_told(tmp_path: Path, named: str, when: str, code: int) -> None:
    order_file(tmp_path, "here").write_text(named)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(tmp_path), when, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == code, output
    assert order_file(tmp_path, "here").exists() == (code == 0)
