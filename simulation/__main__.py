"""`python -m simulation`: run many seeds, over several processes; print what goes wrong, with its trace."""

import argparse
import gc
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from simulation.bugs import BUGS, Bug
from simulation.world import Outcome, retrace, simulate

_CHUNK = 50
_TOLD_EACH = 10_000
_SHOWN = 3
"""So many failing seeds are told with their traces."""
_TRACE_LINES = 120


@dataclass
class Totals:
    seeds: int = 0
    commits: int = 0
    operations: int = 0
    faults: int = 0
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.commits += outcome.commits
        self.operations += outcome.operations
        self.faults += outcome.faults
        self.seconds += outcome.seconds


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if options.list:
        for each in BUGS.values():
            print(f"{each.name:22} found by seed {each.seed:6}  {each.what}")
        return 0
    bug = _bug(options.bug)
    if options.seed is not None:
        return _tell(options.seed, bug, whole=True)
    started = time.monotonic()
    totals, failing = Totals(), []
    for outcome in _outcomes(range(options.first, options.first + options.seeds), bug, options.workers):
        totals.add(outcome)
        if outcome.violations:
            failing.append(outcome.seed)
            print(f"seed {outcome.seed}: {outcome.violations[0][:300]}", flush=True)
            if len(failing) >= options.most:
                break
        if totals.seeds % _TOLD_EACH == 0:
            print(f"{totals.seeds} seeds, {time.monotonic() - started:.0f} s, {len(failing)} failing", flush=True)
    _summarize(totals, failing, time.monotonic() - started)
    for seed in failing[:_SHOWN]:
        _tell(seed, bug, whole=False)
    return 1 if failing else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seeds", type=_at_least_one, default=1_000, help="how many to run (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="run this one alone and print its whole trace")
    parser.add_argument("--workers", type=_at_least_one, default=1, help="how many processes (1)")
    parser.add_argument("--most", type=_at_least_one, default=20, help="stop after so many failing seeds (20)")
    parser.add_argument("--bug", help="plant this bug, which the seeds must find; see --list")
    parser.add_argument("--list", action="store_true", help="list the bugs that can be planted")
    return parser.parse_args(arguments)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _bug(name: str | None) -> Bug | None:
    if name is not None and name not in BUGS:
        sys.exit(f"there is no bug {name!r} to plant; --list shows all of them")
    return None if name is None else BUGS[name]


def _outcomes(seeds: range, bug: Bug | None, workers: int) -> Iterator[Outcome]:
    if workers == 1:
        _prepare()
        yield from _run(seeds, bug)
        return
    chunks = [(seeds[start : start + _CHUNK], bug.name if bug else None) for start in range(0, len(seeds), _CHUNK)]
    with multiprocessing.get_context("fork").Pool(workers, _prepare) as pool:
        for outcomes in pool.imap(_run_chunk, chunks):
            yield from outcomes


def _run_chunk(chunk: tuple[range, str | None]) -> list[Outcome]:
    seeds, name = chunk
    return list(_run(seeds, _bug(name)))


def _prepare() -> None:
    """Once in a process: what is here stays; the garbage of runs is collected now and then (simulation/world.py)."""
    gc.freeze()
    gc.disable()


def _run(seeds: Iterable[int], bug: Bug | None) -> Iterator[Outcome]:
    for seed in seeds:
        yield simulate(seed, bug)


def _summarize(totals: Totals, failing: list[int], seconds: float) -> None:
    print(
        f"{totals.seeds} seeds in {seconds:.0f} s ({totals.seeds / seconds * 60:.0f} a minute): "
        f"{totals.operations} commands and reads, {totals.commits} commits, {totals.faults} faults, "
        f"{totals.seconds / 3600:.1f} hours of simulated time; {len(failing)} failing"
    )


def _tell(seed: int, bug: Bug | None, *, whole: bool) -> int:
    """Run it again, telling everything that happens."""
    outcome, lines = retrace(seed, bug)
    repeat = f"python -m simulation --seed {seed}{f' --bug {bug.name}' if bug else ''}"
    print(f"\nseed {seed} ({repeat}):")
    if not whole and len(lines) > _TRACE_LINES:
        print(f"... {len(lines) - _TRACE_LINES} lines before these")
        lines = lines[-_TRACE_LINES:]
    print("\n".join(line[:300] for line in lines))
    for violation in outcome.violations:
        print(f"VIOLATION {violation[:1000]}")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
