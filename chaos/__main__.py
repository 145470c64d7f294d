"""`python -m chaos`: a running exchange is broken in every way there is, hundreds of times, and judged."""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from chaos import report, rounds
from chaos.all_kinds import KINDS, Kind
from chaos.controls import CONTROLS
from chaos.machine import allows
from chaos.results import RoundResult
from chaos.schedule import Round
from chaos.schedule import rounds as dealt_out

_PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.controls:
        return _play_controls(asked.seed, write=asked.write)
    if asked.list:
        print("\n".join(f"{each.name:36} {each.profile:10} {each.row}" for each in KINDS.values()))
        return 0
    kinds = _possible(_chosen(asked.kinds))
    made = [Round.named(asked.round)] if asked.round else dealt_out(kinds, asked.faults, asked.seed)
    print(f"seed {asked.seed}: {sum(len(each.kinds) for each in made)} faults in {len(made)} rounds", flush=True)
    results = _play(made, asked.results)
    text = f"{report.summary(results, asked.seed)}\n\n{report.table(results, {n: k.row for n, k in KINDS.items()})}"
    print(text)
    if asked.write:
        _write(report.TABLE, text)
    if any(each.violations for each in results):
        return 1
    if asked.results is not None:
        asked.results.unlink(missing_ok=True)  # the next run begins anew
    return 0


def _write(place: str, text: str) -> None:
    _PAGE.write_text(report.put_between_markers(_PAGE.read_text(), place, text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description="Break a running exchange, and judge it.")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), metavar="N", help="decides what happens when"
    )
    parser.add_argument("--faults", type=int, default=50, metavar="K", help="how many (default: 50)")
    parser.add_argument("--kinds", default="", metavar="A,B", help="only these; a name or the beginning of one")
    parser.add_argument("--round", metavar="NAME", help="one round again, as a failing run names it")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="rounds are kept there until all have gone well; after a failure only what is missing is played",
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    parser.add_argument("--controls", action="store_true", help="the negative controls: each must find violations")
    parser.add_argument("--list", action="store_true", help="name every kind of fault")
    return parser


def _chosen(names: str) -> dict[str, Kind]:
    wanted = [name for name in names.split(",") if name]
    found = {name: each for name, each in KINDS.items() if not wanted or name.startswith(tuple(wanted))}
    if not found:
        sys.exit(f"there is no kind of fault called {names}; see --list")
    return found


def _possible(kinds: dict[str, Kind]) -> dict[str, Kind]:
    """Those that this machine allows; the others are said."""
    left_out = {name: need for name, each in kinds.items() for need in each.needs if not allows(need)}
    for name, need in left_out.items():
        print(f"not tested here: {name} (this machine has no {need})")
    return {name: each for name, each in kinds.items() if name not in left_out}


def _play(made: Sequence[Round], file: Path | None) -> list[RoundResult]:
    """Each round in turn; one that fails does not keep the others from being played.

    Those in `file` that went well are not played again.
    """
    results = _known(file, {each.name for each in made})
    done = {each.name for each in results}
    for number, each in enumerate(made, 1):
        if each.name in done:
            continue
        result = rounds.play_apart(each)
        results.append(result)
        if file is not None:
            with file.open("ab") as kept:
                kept.write(msgspec.json.encode(result) + b"\n")
        _tell(number, len(made), each, result)
    return results


def _play_controls(seed: int, *, write: bool) -> int:
    """0 if what is taken away is missed each time."""
    blind, lines = [], []
    for name, control in CONTROLS.items():
        if not all(allows(need) for kind in control.kinds for need in KINDS[kind].needs):
            print(f"not tested here: {name}")
            continue
        result = rounds.play_apart(Round(control.profile, seed, control.kinds), name)
        harness = [each for each in result.violations if each.startswith("harness")]
        found = [each for each in result.violations if each not in harness]
        print(f"{name} ({control.what}): {len(found)} violations found, as must be", flush=True)
        print("\n".join(f"  {each[:300]}" for each in [*found[:3], *harness]), flush=True)
        blind += [name] if harness or not found else []
        telling = [each for each in found if not each.startswith("recovery")] or found or ["nothing"]
        lines.append((name, control.what, len(found), telling[0]))
    if write:
        _write(report.CONTROLS, report.controls_table(lines))
    print(f"NOTHING FOUND by {', '.join(blind)}" if blind else "every control is found")
    return 1 if blind else 0


def _known(file: Path | None, names: set[str]) -> list[RoundResult]:
    if file is None or not file.exists():
        return []
    known = [msgspec.json.decode(line, type=RoundResult) for line in file.read_bytes().splitlines()]
    return [each for each in known if each.name in names and not each.violations]


def _tell(number: int, of: int, made: Round, result: RoundResult) -> None:
    slowest = max((each.orders_seconds for each in result.injected), default=0.0)
    print(
        f"round {number}/{of} {made.profile}: {len(result.injected)} faults, {result.acknowledged} of "
        f"{result.operations} commands acknowledged, {len(result.violations)} violations, slowest recovery "
        f"{slowest:.1f} s, {result.seconds:.0f} s",
        flush=True,
    )
    for each in result.not_injected:
        print(f"  not injected: {each}")
    if result.violations:
        for each in result.violations[:20]:
            print(f"  VIOLATION {each}")
        schedule = "\n".join(f"    {e.at_seconds:7.2f} s {e.kind}: {e.detail}" for e in result.injected)
        print(f"  the faults were:\n{schedule}\n  logs in {rounds.KEPT}/{made.profile}-{made.seed}")
        print(f"  repeat with: python -m chaos --round '{made.name}'", flush=True)


if __name__ == "__main__":
    sys.exit(main())
