"""Decimals at the edges, whole ticks and lots inside. Nothing here passes through a float."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

MAX_DECIMALS = 12
"""Of a tick or lot size."""
_PLAIN_DIGITS = 30
_KEPT = 4096
"""Numbers of a step whose other form is kept: the same prices and quantities come again and again."""
# re.ASCII: \d would take the digits of every script, and Decimal would read them.
_LITERAL = re.compile(r"-?\d{1,40}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)
_SIZE = re.compile(r"\d{1,12}(\.\d{1,12})?", re.ASCII)


class NotDecimal(ValueError):
    """The text is not a decimal number."""


class OffStep(ValueError):
    """The number is not a whole multiple of the tick or lot size."""


@dataclass(frozen=True, slots=True)
class Step:
    """The smallest step of a price or quantity: `unit` / 10**`decimals`.

    >>> cent = Step.of("0.01")
    >>> cent.parse("100.1"), cent.format(10010)
    (10010, '100.10')
    """

    unit: int
    decimals: int
    parse: Callable[[str], int] = field(init=False, repr=False, compare=False)
    """How many steps the number is. Raises NotDecimal or OffStep; the caller judges the range.

    Numbers beyond any price or quantity (1e400) come back as a very large count, never as a huge object.
    """
    parse_json: Callable[[bytes], int] = field(init=False, repr=False, compare=False)
    """The same of a JSON value as it was written: a number, or text with its quotation marks."""
    format: Callable[[int], str] = field(init=False, repr=False, compare=False)
    """The plain decimal string, always with this step's number of decimals."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parse", lru_cache(_KEPT)(self._parse))
        object.__setattr__(self, "parse_json", lru_cache(_KEPT)(self._parse_json))
        object.__setattr__(self, "format", lru_cache(_KEPT)(self._format))

    @classmethod
    def of(cls, size: str) -> "Step":
        """From a plain decimal string greater than zero. Raises NotDecimal."""
        if not _SIZE.fullmatch(size) or not (value := Decimal(size)):
            raise NotDecimal(size)
        exponent = value.normalize().as_tuple().exponent
        decimals = max(0, -int(exponent))
        return cls(int(value.scaleb(decimals)), decimals)

    def _parse(self, text: str) -> int:
        steps, rest = divmod(self._scaled(text), self.unit)
        if rest:
            raise OffStep(text)
        return steps

    def _parse_json(self, written: bytes) -> int:
        text = written.decode("latin-1")
        return self._parse(text[1:-1] if text.startswith('"') else text)

    def _scaled(self, text: str) -> int:
        """The number times 10**decimals."""
        whole, dot, fraction = text.partition(".")
        digits = whole + fraction
        is_plain = digits.isdecimal() and digits.isascii() and len(digits) <= _PLAIN_DIGITS
        if is_plain and whole and bool(fraction) == bool(dot) and len(fraction) <= self.decimals:
            return int(digits.ljust(len(whole) + self.decimals, "0"))
        return self._scaled_literal(text)  # hardly anybody sends these, and Decimal takes four times as long

    def _scaled_literal(self, text: str) -> int:
        if not _LITERAL.fullmatch(text):
            raise NotDecimal(text)
        value = Decimal(text)
        if not value:
            return 0
        if value.adjusted() > 30:
            return self.unit * (10**40 if value > 0 else -(10**40))
        sign, digits, exponent = value.as_tuple()
        shift = int(exponent) + self.decimals
        magnitude = int("".join(map(str, digits)))
        if shift < 0:
            magnitude, rest = divmod(magnitude, 10**-shift) if -shift <= 200 else (0, 1)
            if rest:
                raise OffStep(text)
        else:
            magnitude *= 10**shift
        return -magnitude if sign else magnitude

    def _format(self, steps: int) -> str:
        scaled, decimals = steps * self.unit, self.decimals
        digits = str(scaled)
        if not decimals:
            return digits
        if scaled < 0:
            return "-" + self.format(-steps)
        if len(digits) <= decimals:
            digits = digits.zfill(decimals + 1)
        return f"{digits[:-decimals]}.{digits[-decimals:]}"

    def format_ratio(self, numerator: int, denominator: int) -> str:
        """numerator / denominator steps, rounded half to even at eight more decimals than the step has.

        Trailing zeros beyond the step's own decimals are dropped: an average of whole cents reads "100.50".
        """
        if not numerator % denominator:
            return self.format(numerator // denominator)
        extra = 8
        scaled, rest = divmod(numerator * self.unit * 10**extra, denominator)
        if 2 * rest > denominator or (2 * rest == denominator and scaled % 2):
            scaled += 1
        digits = _fraction(self.decimals + extra).format(scaled)
        whole, _, fraction = digits.partition(".")
        fraction = fraction[: self.decimals] + fraction[self.decimals :].rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole


@lru_cache(maxsize=64)
def _fraction(decimals: int) -> Step:
    return Step(1, decimals)
