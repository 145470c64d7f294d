"""What came of all rounds, as a table for people. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from chaos.results import Injected, RoundResult

TABLE, CONTROLS = "chaos", "controls"
"""What the places in the page are called."""
_HEAD = (
    "| fault | count | violations | orders again, median | max | reads again, median | max |",
    "|---|---|---|---|---|---|---|",
)


def table(results: Iterable[RoundResult], row_of: Mapping[str, str]) -> str:
    """A line for each row of faults, in the order of `row_of`. A violation counts for every row of its round."""
    by_row: dict[str, list[Injected]] = {row: [] for row in row_of.values()}
    violations: dict[str, int] = defaultdict(int)
    for result in results:
        for each in result.injected:
            by_row[row_of[each.kind]].append(each)
        for row in {row_of[each.kind] for each in result.injected}:
            violations[row] += len(result.violations)
    lines = [_line(row, found, violations[row]) for row, found in by_row.items() if found]
    return "\n".join([*_HEAD, *lines])


def _line(row: str, found: list[Injected], violations: int) -> str:
    orders, reads = [each.orders_seconds for each in found], [each.reads_seconds for each in found]
    figures = (median(orders), max(orders), median(reads), max(reads))
    return f"| {row} | {len(found)} | {violations} | " + " | ".join(f"{each:.2f} s" for each in figures) + " |"


def summary(results: Iterable[RoundResult], seed: int) -> str:
    all_of_them = list(results)
    faults = sum(len(each.injected) for each in all_of_them)
    violations = sum(len(each.violations) for each in all_of_them)
    operations = sum(each.operations for each in all_of_them)
    acknowledged = sum(each.acknowledged for each in all_of_them)
    minutes = sum(each.seconds for each in all_of_them) / 60
    return (
        f"{faults} faults in {len(all_of_them)} rounds ({minutes:.0f} minutes), seed {seed}: {violations} violations. "
        f"{operations:,} commands were sent, {acknowledged:,} acknowledged."
    )


def put_between_markers(page: str, place: str, text: str) -> str:
    """The page with everything between the markers of this place replaced. Raises ValueError when it has none."""
    begin, end = f"<!-- {place} -->", f"<!-- /{place} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page has no one place between {begin} and {end}")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


def controls_table(found: Iterable[tuple[str, str, int, str]]) -> str:
    """A line for each negative control: its name, what is taken away, how many violations, and one of them."""
    lines = [f"| {name} | {what} | {count} | {_cell(example)} |" for name, what, count, example in found]
    return "\n".join(["| control | taken away | violations found | such as |", "|---|---|---|---|", *lines])


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:160]
