"""Builds the wheel from what git knows, apart from the work tree: setuptools leaves folders where it works."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def tracked_files() -> list[str]:
    """Of the repository, as they are now: what was deleted and not committed is left out."""
    listed = subprocess.check_output(["git", "-C", str(ROOT), "ls-files", "-z"], text=True).split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


def build_wheel(folder: Path) -> Path:
    """The wheel, in `folder`. The backend is the one that is installed, so nothing is downloaded."""
    source = folder / "source"
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    command = [sys.executable, "-c", _BUILD, str(folder)]
    done = subprocess.run(command, cwd=source, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(f"the wheel cannot be built: {done.stderr[-2_000:]}")
    return folder / done.stdout.strip().splitlines()[-1]
