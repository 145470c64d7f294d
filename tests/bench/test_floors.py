"""The bare book does the engine's work: on the same flow the same trades, and the same depth at the end."""

import pytest

from bench.floors import BareBook, bare_operations
from bench.flow import LISTING, SYMBOL, Flow
from contracts.messages import AmendOrder, Outcome, Side, TradeExecuted
from matcher.engine import Engine


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("cancels", [0, 0.7])
def test_same_trades_and_same_depth_as_the_engine(seed: int, cancels: float) -> None:
    commands = Flow(seed, cancels=cancels, resting=100).next_commands(5_000)
    engine, book = Engine(), BareBook()
    engine.apply(LISTING, 0)
    results = [engine.apply(command, 0) for command in commands]
    book.run(bare_operations(commands))
    outcomes = [result for result in results if isinstance(result, Outcome)]
    assert book.trades == sum(isinstance(event, TradeExecuted) for outcome in outcomes for event in outcome.events)
    bids, asks = engine.depth(SYMBOL, None)
    assert book.depth(Side.BUY) == bids
    assert book.depth(Side.SELL) == asks


def test_what_the_bare_book_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot do"):
        bare_operations([AmendOrder(1, 2, 3)])
