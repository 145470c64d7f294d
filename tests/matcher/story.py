"""The language of the stories: what is sent, and what comes out, in words.

    == A title; each story starts at 09:00:00 with an empty engine that lists X (1 to 1000 lots)
    # why it is told

Orders:
    > buy 5 @ 100 IOC on X by anna as my-id     also: FOK, GTC, DAY, post-only; "@ price" left out is no price
    > buy 5 market protect 102                  trades no further than 102
    > buy market for 1000                       spends at most 1000
    > sell 5 stop 98                            a stop order: a market order once a trade is at 98 or below
    > sell 5 @ 97 stop 98                       a stop-limit order ("type stop" and the like say it outright)
    > buy 50 @ 100 show 10                      an iceberg order, 10 of it to be seen
    > buy 5 @ 100 GTD until 17:00:00            24:00:00 is midnight, 33:00:00 is 9 o'clock on the next day
    > buy 5 @ 100 self-trade cancel_oldest      or: cancel_newest, cancel_both, decrement
    > cancel 1 of anna,ben                      only if it is an order of one of these accounts
    > amend 1 price 101 quantity 7 stop 98 of anna
    > all or nothing: cancel 1 | amend 2 price 101 | buy 5 @ 100
    > replace 1 by buy 5 @ 101                  the same as "all or nothing: cancel 1 | buy 5 @ 101"
    > cancel all of anna on X side buy
    > cancel all of anna after 30               the dead-man's switch, in seconds; 0 disarms it
The exchange:
    > list X tick 0.01 lot 1 min 1 max 1000 lowest 90 highest 110 band 500
    > status X halted
    > limits anna open 10 on X quantity 5 notional 1000 position 20
    > kill-switch anna engaged                  or: released
    > clock 17:00:00                            time passes, and what is due expires
    > continue                                  the engine goes on with what had no room before
    > set max_fills 2                           makes one of the engine's limits small
What to look at:
    > book                                      draws X, or "book Y"; an order in it reads "quantity (#id)"
    > stops                                     the stop orders of X that wait, drawn the same way
    > position anna                             what it has bought more than sold of X, or "position anna on Y"
    > orders anna                               its open orders

What follows a command is its outcome: the events, then each touched level with its new total; or the refusal; and "to
be continued" if the engine has not done all of it yet. In a book the first order to trade is the leftmost, in a
drawing of stops the first to be triggered at its price.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contracts.messages import Command, DefineInstrument, Result
from tests.matcher.story_commands import instant, parse
from tests.matcher.story_results import Queued, draw, tell

START = instant("09:00:00")


class AnyEngine(Protocol):
    def apply(self, command: Command, time: int, sequence: int = 0) -> Result: ...
    @property
    def unfinished(self) -> bool: ...
    def resting(self, symbol: str) -> list[Queued]: ...
    def stops(self, symbol: str) -> list[Queued]: ...
    def position(self, account: str, symbol: str) -> int: ...
    def open_orders(self, account: str) -> list[int]: ...


@dataclass(frozen=True)
class Story:
    file: str
    title: str
    lines: list[str]

    @property
    def settings(self) -> dict[str, int]:
        words = [line.split() for line in self.lines if line.startswith("> set ")]
        return {name: int(value) for _, _, name, value in words}


def read_stories(folder: Path) -> Iterator[Story]:
    for path in sorted(folder.glob("*.txt")):
        for part in re.split(r"^== ", path.read_text(), flags=re.MULTILINE)[1:]:
            title, *lines = part.rstrip().splitlines()
            yield Story(path.stem, title, lines)


def play(story: Story, engine: AnyEngine) -> Iterator[str]:
    """The story with what this engine makes of it."""
    time, sequence = START, 1
    engine.apply(DefineInstrument("X", "1", "1", 1, 1000), time, sequence)
    for line in story.lines:
        if not line.startswith("> "):
            if not line.startswith("  "):
                yield line
            continue
        yield line
        words = shlex.split(line[2:])
        time = instant(words[1]) if words[0] == "clock" else time
        sequence += 1
        yield from (f"  {said}".rstrip() for said in obey(words, engine, time, sequence))


def obey(words: list[str], engine: AnyEngine, time: int, sequence: int) -> Iterator[str]:
    match words:
        case ["set", *_]:
            return
        case ["book", *symbol]:
            yield from draw(engine.resting(*(symbol or ["X"])))
        case ["stops", *symbol]:
            yield from draw(engine.stops(*(symbol or ["X"])), "buy", "stop", "sell")
        case ["position", account]:
            yield str(engine.position(account, "X"))
        case ["position", account, "on", symbol]:
            yield str(engine.position(account, symbol))
        case ["orders", account]:
            yield ", ".join(f"#{order_id}" for order_id in engine.open_orders(account)) or "none"
        case _:
            yield from tell(engine.apply(parse(words), time, sequence))
            if engine.unfinished:
                yield "to be continued"
