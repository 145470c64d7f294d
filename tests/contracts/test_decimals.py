"""Decimals in, whole steps out, and back: exactly, never through a float, never a huge object from a short text."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.decimals import MAX_DECIMALS, NotDecimal, OffStep, Step

CENT = Step.of("0.01")

sizes = st.builds(
    lambda unit, decimals: format(Decimal(unit).scaleb(-decimals), "f"), st.integers(1, 10**12 - 1), st.integers(0, 12)
)
steps = st.builds(Step.of, sizes)
counts = st.integers(-(10**18), 10**18)


@pytest.mark.parametrize(
    ("size", "unit", "decimals"),
    [
        ("1", 1, 0),
        ("0.01", 1, 2),
        ("0.010", 1, 2),
        ("00.01", 1, 2),
        ("0.05", 5, 2),
        ("0.25", 25, 2),
        ("2.5", 25, 1),
        ("10", 10, 0),
        ("100", 100, 0),
        ("999999999999", 999999999999, 0),
        ("0.000000000001", 1, 12),
        ("123456789012.123456789012", 123456789012123456789012, 12),
    ],
)
def test_sizes(size: str, unit: int, decimals: int) -> None:
    assert Step.of(size) == Step(unit, decimals)
    assert Step.of(size).decimals <= MAX_DECIMALS


OTHER_DIGITS = ["\u0661", "\u0661.5", "\uff15", "\u0967", "\u00b2", "\u22125", "1\u066b5"]
"""Arabic, fullwidth, Devanagari, superscript; a minus and a decimal point that are not ASCII."""
NO_NUMBER = [
    *("0.1.2", "NaN", "nan", "sNaN", "Infinity", "-inf", "1e", "e5", "1e1e1", ".5", "5.", "+5", "--5"),
    *("1,5", "1_000", "0x10", "ten", "1/2", "true"),
]
SPACED = ["", " ", " 5", "5 ", "5\n", "1 000", "\0", "5\0"]


@pytest.mark.parametrize(
    "size", [*NO_NUMBER, *SPACED, *OTHER_DIGITS, "0", "0.0", "-1", "1e-2", "1" * 13, "0.0000000000001"], ids=ascii
)
def test_what_is_no_size(size: str) -> None:
    with pytest.raises(NotDecimal):
        Step.of(size)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("100.10", 10010),
        ("100.1", 10010),
        ("100", 10000),
        ("0.01", 1),
        ("0", 0),
        ("-0", 0),
        ("0.000", 0),
        ("0e999", 0),
        ("-0.01", -1),
        ("0000.01", 1),
        ("0.0100000000000000000000", 1),
        ("1e2", 10000),
        ("1E+2", 10000),
        ("1e-2", 1),
        ("1000000e-6", 100),
        ("12345678901234567890.12", 1234567890123456789012),
        ("0.1e1", 100),
    ],
)
def test_parse(text: str, count: int) -> None:
    assert CENT.parse(text) == count


@pytest.mark.parametrize("text", [*NO_NUMBER, *SPACED, *OTHER_DIGITS, "1e1000", "1" * 41, "1." + "1" * 41], ids=ascii)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(NotDecimal):
        CENT.parse(text)


@pytest.mark.parametrize(
    "text",
    ["0.001", "100.005", "-0.001", "1e-3", "1e-400", "1e-999", "0.01000000000000000001", "99999999999999999999.999"],
)
def test_off_step(text: str) -> None:
    with pytest.raises(OffStep):
        CENT.parse(text)


def test_off_step_of_a_step_that_is_no_power_of_ten() -> None:
    nickel = Step.of("0.05")
    assert nickel.parse("0.15") == 3
    assert nickel.format(3) == "0.15"
    with pytest.raises(OffStep):
        nickel.parse("0.16")
    with pytest.raises(OffStep):
        Step.of("25").parse("30")


@pytest.mark.parametrize("text", ["1e400", "1e999", "9e999", "1e31", "9" * 40])
def test_beyond_any_range_is_a_large_count_and_no_larger(text: str) -> None:
    assert 10**30 < CENT.parse(text) <= 10**43
    assert -(10**43) <= CENT.parse("-" + text) < -(10**30)


def test_format() -> None:
    assert [CENT.format(count) for count in (0, 1, 99, 100, 10010, -1, -250)] == [
        *("0.00", "0.01", "0.99", "1.00", "100.10", "-0.01", "-2.50")
    ]
    assert Step.of("10").format(3) == "30"
    assert Step.of("0.000000000001").format(1) == "0.000000000001"
    assert CENT.format(10**15) == "10000000000000.00"


@pytest.mark.parametrize(
    ("numerator", "denominator", "text"),
    [
        (10050, 1, "100.50"),
        (20101, 2, "100.505"),
        (1, 3, "0.0033333333"),
        (2, 3, "0.0066666667"),
        (1, 2 * 10**8, "0.00"),
        (3, 2 * 10**8, "0.0000000002"),
        (5, 2 * 10**8, "0.0000000002"),
        (999_999_999_999, 10**12, "0.01"),
        (10**27, 10**12, "10000000000000.00"),
        (0, 5, "0.00"),
    ],
)
def test_ratio_rounds_half_to_even(numerator: int, denominator: int, text: str) -> None:
    assert CENT.format_ratio(numerator, denominator) == text


def test_ratio_of_whole_steps() -> None:
    assert Step.of("1").format_ratio(7, 2) == "3.5"
    assert Step.of("1").format_ratio(8, 2) == "4"
    assert Step.of("0.25").format_ratio(3, 2) == "0.375"


@given(steps, counts)
def test_round_trip(step: Step, count: int) -> None:
    text = step.format(count)
    assert step.parse(text) == count
    assert Fraction(text) == Fraction(count * step.unit, 10**step.decimals)
    assert "e" not in text.lower()


@given(sizes)
def test_a_size_is_one_step(size: str) -> None:
    step = Step.of(size)
    assert step.parse(size) == 1
    assert Step.of(step.format(1)) == step


@given(steps, st.integers(0, 10**15), st.integers(0, 4))
def test_zeros_at_the_end_do_not_matter(step: Step, count: int, zeros: int) -> None:
    text = step.format(count)
    assert step.parse((text if "." in text else text + ".0") + "0" * zeros) == count


@given(steps, st.decimals(allow_nan=False, allow_infinity=False, places=14, min_value=-(10**9), max_value=10**9))
def test_parse_is_exact_or_refuses(step: Step, number: Decimal) -> None:
    exact = Fraction(number) / Fraction(step.unit, 10**step.decimals)
    try:
        assert step.parse(format(number, "f")) == exact
    except OffStep:
        assert exact.denominator != 1


@given(steps, st.text(max_size=12) | st.from_regex(r"-?\d{0,3}\.?\d{0,3}([eE][+-]?\d{0,3})?"))
def test_any_text_gives_a_count_or_a_named_refusal(step: Step, text: str) -> None:
    try:
        count = step.parse(text)
    except (NotDecimal, OffStep):
        return
    assert type(count) is int
    assert text.isascii()


@given(steps, st.integers(0, 10**27), st.integers(1, 10**12))
def test_ratio_is_the_nearest(step: Step, numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator) * Fraction(step.unit, 10**step.decimals)
    error = abs(Fraction(step.format_ratio(numerator, denominator)) - exact)
    assert error <= Fraction(1, 2 * 10 ** (step.decimals + 8))
