"""Proves a snapshot in a process of its own, and only then gives it its name: `python -m matcher.verify_snapshot FILE`.

FILE was written by a matcher's child, which becomes this process. Whatever may have gone wrong in its memory or on the
way to the disk would show here: the file is read from the disk and loaded, every invariant is checked, and the state
must have the hash that it had in the matcher.
"""

import gc
import logging
import sys
from pathlib import Path

from matcher.snapshots import read, snapshot_files
from runtime.clock import steady
from runtime.snapshot_files import Unusable

log = logging.getLogger(__name__)


def main(file: Path) -> int:
    """The exit status: 0 when the snapshot was good and has its name now."""
    gc.disable()  # nothing here becomes garbage in cycles
    started = steady()
    try:
        files = snapshot_files(file.parent)
        replay = read(files, file)
        replay.engine.check()
        target = files.publish(file)
    except (Unusable, AssertionError, OSError) as error:
        log.error("%s is thrown away, it would not have been a good snapshot: %s", file, error)
        file.unlink(missing_ok=True)
        return 1
    log.info(
        "%s is good: %d open orders, %d bytes, proved in %.1f s",
        target.name,
        replay.engine.resting_orders,
        target.stat().st_size,
        steady() - started,
    )
    return 0


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s matcher snapshot %(message)s")
    sys.exit(main(Path(sys.argv[1])))
