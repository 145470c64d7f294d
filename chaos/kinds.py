"""What a kind of fault is, and the list that each module of faults adds its own to."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos.run import Run

Inject = Callable[[Run], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """`row`: what it is in the table of docs/reliability.md. `profile`: the exchange that it needs.

    `share`: how many of a thousand faults. `needs`: what the machine must allow (chaos/machine.py).
    """

    name: str
    row: str
    profile: str
    share: int
    inject: Inject
    needs: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {}


def kind(
    name: str, row: str, share: int, *, profile: str = "plain", needs: tuple[str, ...] = ()
) -> Callable[[Inject], Inject]:
    def add(inject: Inject) -> Inject:
        assert name not in KINDS, name
        KINDS[name] = Kind(name, row, profile, share, inject, needs)
        return inject

    return add
