"""Each story in stories/ comes out word for word: of the engine, and of the reference that random flows trust."""

from pathlib import Path

import pytest

import matcher.engine
from contracts.messages import CancelReason, Command, Refusal, RejectReason, Result, Side
from matcher.engine import Engine
from tests.matcher.reference import Limits, ReferenceEngine
from tests.matcher.story import Story, play, read_stories

FOLDER = Path(__file__).parent / "stories"
STORIES = list(read_stories(FOLDER))

every_story = pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.file}: {story.title}")


class CheckedEngine:
    """The engine, asked to check itself after each command; a refused one must leave no trace."""

    def __init__(self) -> None:
        self.engine = Engine()

    def apply(self, command: Command, time: int) -> Result:
        before = self.engine.state_hash()
        result = self.engine.apply(command, time)
        self.engine.check()
        if isinstance(result, Refusal):
            assert self.engine.state_hash() == before
        return result

    def resting(self, symbol: str) -> list[tuple[Side, int, int, int]]:
        return self.engine.resting(symbol)


@every_story
def test_story_of_the_engine(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in story.settings.items():
        monkeypatch.setattr(matcher.engine, name.upper(), value)
    assert list(play(story, CheckedEngine())) == story.lines


@every_story
def test_story_of_the_reference(story: Story) -> None:
    assert list(play(story, ReferenceEngine(Limits(**story.settings)))) == story.lines


def test_every_reason_has_a_story() -> None:
    told = "\n".join(line for story in STORIES for line in story.lines)
    untold: list[RejectReason | CancelReason] = [
        reason for reason in RejectReason if f"refused: {reason.value}" not in told
    ]
    untold += [reason for reason in CancelReason if f"({reason.value})" not in told]
    assert not untold
