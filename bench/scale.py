"""How much each round does. Counts are fixed, so every run sends the same commands."""

from dataclasses import dataclass

SEED = 1
"""Of every flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    rounds: int
    engine_commands: int
    resting: tuple[int, ...]
    """So many orders in the book, the first being what the others are compared with."""
    resting_for_memory: int
    alone: int
    """Requests one at a time, over NATS or REST."""
    singles: int
    """Commands over NATS, each a request of its own."""
    batched: int
    """Commands over NATS, many in a request."""
    rest_orders: int
    ws_orders: int
    loaded_seconds: float
    """How long a round of sending at a fixed rate takes."""
    streams: tuple[tuple[int, int, int], ...]
    """WebSocket clients, trades that each is sent as fast as it goes, and commits one at a time."""
    recorded: int
    """Commands that the recorder stores in a round."""
    caught_up_trades: int
    starts: int
    """How often a matcher, and the whole stack, is started."""
    start_commands: int
    recovered_commands: int


FULL = Scale(
    rounds=7,
    engine_commands=100_000,
    resting=(1_000, 100_000, 1_000_000),
    resting_for_memory=1_000_000,
    alone=1_500,
    singles=15_000,
    batched=150_000,
    rest_orders=8_000,
    ws_orders=10_000,
    loaded_seconds=2,
    streams=((1, 20_000, 300), (100, 2_000, 60), (1_000, 400, 20)),
    recorded=100_000,
    caught_up_trades=1_000_000,
    starts=5,
    start_commands=100_000,
    recovered_commands=500_000,
)
QUICK = Scale(
    rounds=3,
    engine_commands=50_000,
    resting=(1_000, 100_000),
    resting_for_memory=200_000,
    alone=500,
    singles=4_000,
    batched=40_000,
    rest_orders=2_000,
    ws_orders=2_000,
    loaded_seconds=0.5,
    streams=((1, 6_000, 100), (100, 500, 20), (1_000, 100, 5)),
    recorded=30_000,
    caught_up_trades=50_000,
    starts=2,
    start_commands=20_000,
    recovered_commands=50_000,
)
