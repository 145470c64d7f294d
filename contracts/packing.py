"""MessagePack put together from parts that are encoded already, so that nothing is encoded twice."""

from collections.abc import Sequence

_SHORT = 16
"""Arrays of fewer have a head of one byte."""


def array_of(items: Sequence[bytes]) -> bytes:
    """The encoded array of these encoded items, fewer than 65,536: what msgspec makes of the items themselves."""
    count = len(items)
    if count == 1:
        return b"\x91" + items[0]
    head = bytes((0x90 + count,)) if count < _SHORT else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(items)
