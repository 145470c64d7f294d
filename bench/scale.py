"""How much each round does. Counts are fixed, so every run sends the same commands."""

from dataclasses import dataclass

SEED = 1
"""Of every flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    rounds: int
    engine_commands: int
    alone: int
    """Requests one at a time, over NATS or REST."""
    singles: int
    """Commands over NATS, each a request of its own."""
    batched: int
    """Commands over NATS, many in a request."""
    rest_orders: int
    loaded_seconds: float
    """How long a round of sending at a fixed rate takes."""


FULL = Scale(
    rounds=7, engine_commands=100_000, alone=1_500, singles=15_000, batched=150_000, rest_orders=8_000, loaded_seconds=2
)
QUICK = Scale(
    rounds=3, engine_commands=50_000, alone=500, singles=6_000, batched=50_000, rest_orders=3_000, loaded_seconds=1
)
