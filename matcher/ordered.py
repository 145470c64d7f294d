"""What is kept in order: keys, and whatever is found under them. Pure.

The best price, the nearest stop and the next expiry are all the highest of some keys, with most of the coming and going
close to it. A key that should come first when it is low is kept negated.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import takewhile
from typing import Generic, TypeVar

from sortedcontainers import SortedList

_NEAR = 512
"""Keys that are kept in a plain list, at least, while there are so many; at most twice as many."""
_LOWEST = -(2**63)

Name = TypeVar("Name", int, str)
Member = TypeVar("Member")


class Keys:
    """Numbers in order.

    The highest are in a plain list: at its end the quickest there is for coming and going. It would take long in the
    middle of a hundred thousand, so those further away are in a SortedList.
    """

    __slots__ = ("far", "lowest", "near")

    def __init__(self) -> None:
        self.near: list[int] = []
        """The last is the highest of all."""
        self.far: SortedList[int] = SortedList()
        self.lowest = _LOWEST
        """From here up a key is near."""

    def add(self, key: int) -> None:
        if key < self.lowest:
            self.far.add(key)
            return
        near = self.near
        insort(near, key)
        if len(near) > 2 * _NEAR:
            self.far.update(near[:_NEAR])
            del near[:_NEAR]
            self.lowest = near[0]

    def remove(self, key: int) -> None:
        if key < self.lowest:
            self.far.remove(key)
            return
        near = self.near
        del near[bisect_left(near, key)]
        if not near:
            near.extend(self.far[-_NEAR:])
            del self.far[-_NEAR:]
            self.lowest = near[0] if self.far else _LOWEST

    def __iter__(self) -> Iterator[int]:
        """The highest first."""
        yield from reversed(self.near)
        yield from reversed(self.far)


class Groups(Generic[Name, Member]):
    """Members with a name each under keys, the highest key first; under one key in the order in which they came."""

    __slots__ = ("_groups", "keys")

    def __init__(self) -> None:
        self.keys = Keys()
        self._groups: dict[int, dict[Name, Member]] = {}

    def add(self, key: int, name: Name, member: Member) -> None:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = {}
            self.keys.add(key)
        group[name] = member

    def remove(self, key: int, name: Name) -> None:
        group = self._groups[key]
        del group[name]
        if not group:
            del self._groups[key]
            self.keys.remove(key)

    @property
    def first_key(self) -> int | None:
        near = self.keys.near
        return near[-1] if near else None

    def down_to(self, key: int) -> list[Member]:
        """Those whose key is not below this one."""
        return [member for near in takewhile(key.__le__, self.keys) for member in self._groups[near].values()]

    def __iter__(self) -> Iterator[Member]:
        for key in self.keys:
            yield from self._groups[key].values()
