"""What the traders trade: instruments, and the steps in which they think of prices and quantities."""

import random
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from pricetime_client import AsyncExchange, Instrument, Refusal

START_PRICES = {"BTC-USD": Decimal("60000"), "ETH-USD": Decimal("3000"), "SOL-USD": Decimal("150")}
_START_PRICE = Decimal("100")
_NICE = (Decimal(1), Decimal(2), Decimal(5))
_VALUE_OF_AN_ORDER = Decimal(20_000)


@dataclass(frozen=True, slots=True)
class Market:
    """`price`: where it begins. `spacing`: between two levels of a market maker. `quantity`: of a usual order."""

    symbol: str
    tick: Decimal
    lot: Decimal
    price: Decimal

    @property
    def spacing(self) -> Decimal:
        """About a hundredth of a percent, as a number that people like."""
        wanted = self.price / 10_000
        decade = Decimal(1).scaleb(wanted.adjusted())
        nice = max(decade * step for step in _NICE if decade * step <= wanted)
        return max(nice, self.tick)

    def quantity(self) -> Decimal:
        """Of some order: now more, now less, and never nothing."""
        usual = _VALUE_OF_AN_ORDER / self.price
        step = self.lot
        while step * 1000 <= usual:  # three digits are enough for anybody
            step *= 10
        return max(step, rounded(usual * random.randint(5, 200) / 100, step))

    def on_tick(self, price: Decimal) -> Decimal:
        return max(self.tick, rounded(price, self.tick))


def rounded(value: Decimal, step: Decimal) -> Decimal:
    """The nearest multiple of the step."""
    return (value / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step


async def opened(exchange: AsyncExchange, symbol: str) -> Market:
    """The market of the symbol, listed if it is not."""
    instrument = await _listed(exchange, symbol)
    last = (await exchange.ticker(symbol)).last_price
    price = last or START_PRICES.get(symbol, _START_PRICE)
    return Market(symbol, instrument.tick_size, instrument.lot_size, price)


async def _listed(exchange: AsyncExchange, symbol: str) -> Instrument:
    try:
        return await exchange.instrument(symbol)
    except Refusal as refusal:
        if refusal.code != "unknown_symbol":
            raise
    return await exchange.define_instrument(symbol, tick_size="0.01", lot_size="0.0001")
