"""What came of a round, as it is handed from the process that ran it to the one that adds up. Pure."""

from msgspec import Struct


class Injected(Struct, frozen=True):
    """One fault. `orders_seconds`: from its end until an order placed after it was acknowledged; `reads_seconds`: until
    that order could be read back."""

    kind: str
    detail: str
    at_seconds: float
    orders_seconds: float
    reads_seconds: float


class RoundResult(Struct, frozen=True, kw_only=True):
    name: str = ""
    seed: int
    profile: str
    injected: tuple[Injected, ...] = ()
    not_injected: tuple[str, ...] = ()
    """Faults that could not be brought about when their turn came, with the reason."""
    violations: tuple[str, ...] = ()
    acknowledged: int = 0
    operations: int = 0
    commits: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
