"""The time of day as everything here counts it, and a clock for how long something took."""

import time


def now() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


def steady() -> float:
    """Seconds, never going back; they also pass while this process is paused.

    Not the event loop's time: that stands still within one turn, in which a process may have slept for hours.
    """
    return time.monotonic()
