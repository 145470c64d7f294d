"""Small files without which stored data is of no use: whole or not at all, also after a power cut."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """For its owner only, and on disk when this returns. Raises OSError; what was there before is there then."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """The names in it are on disk, too: a renamed file without that may be gone, or be empty, after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
