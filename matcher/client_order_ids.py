"""Which client order ids have been used, for what, and where the first answer is. Pure."""

from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from struct import Struct
from typing import NamedTuple

import msgspec

from contracts.messages import CLIENT_ORDER_ID_WINDOW, PlaceOrder

_DIGEST_SIZE = 8
_packed = Struct(f">QQ{_DIGEST_SIZE}s")
_pack = _packed.pack
_nothing_hashed = blake2b(digest_size=_DIGEST_SIZE)
_encoder = msgspec.msgpack.Encoder()


class FirstUse(NamedTuple):
    """`sequence`: the commit that took it; `digest` of the whole order as it was sent."""

    order_id: int
    sequence: int
    digest: bytes


class ClientOrderIds:
    """The latest client order ids of all accounts; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._uses: dict[str, bytes] = {}
        """Packed: a million of them are in memory."""
        self._oldest_first: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._uses)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return zip(self._oldest_first, map(self._uses.__getitem__, self._oldest_first), strict=True)

    def find(self, account: str, client_order_id: str) -> FirstUse | None:
        packed = self._uses.get(f"{account}/{client_order_id}")
        return None if packed is None else FirstUse(*_packed.unpack(packed))

    def add(self, command: PlaceOrder, order_id: int, sequence: int) -> bool:
        """Unless it was used before. Returns whether it is added."""
        key = f"{command.account}/{command.client_order_id}"
        if key in self._uses:
            return False
        self._uses[key] = _pack(order_id, sequence, digest_of(command))
        self._oldest_first.append(key)
        if len(self._oldest_first) > CLIENT_ORDER_ID_WINDOW:
            del self._uses[self._oldest_first.popleft()]
        return True

    def dump(self, count: int) -> Iterator[tuple[list[str], bytes]]:
        """All of them, the oldest first, so many at a time: their keys, and their uses one after the other."""
        pairs = iter(self)
        while some := list(islice(pairs, count)):
            yield [key for key, _ in some], b"".join([use for _, use in some])

    def load(self, keys: list[str], uses: bytes) -> None:
        """Add what `dump` gave. Raises ValueError if that cannot be."""
        if len(uses) != len(keys) * _packed.size:
            raise ValueError(f"{len(keys)} client order ids with {len(uses)} bytes of uses")
        places = range(0, len(uses), _packed.size)
        self._uses.update(zip(keys, [uses[place : place + _packed.size] for place in places], strict=True))
        self._oldest_first.extend(keys)


def digest_of(command: PlaceOrder) -> bytes:
    """Equal for equal orders; for others, once in 2**64."""
    digest = _nothing_hashed.copy()  # which takes half the time of making one
    digest.update(_encoder.encode(command))
    return digest.digest()
