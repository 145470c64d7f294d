"""Each story in stories/ comes out word for word: of the engine, and of the reference that random flows trust."""

from collections import Counter
from pathlib import Path

import pytest

from contracts.messages import CancelReason, Command, Event, Outcome, RejectReason, Repeated, Result
from matcher.engine import Engine
from tests.matcher.limits import set_limit
from tests.matcher.reference import ReferenceEngine
from tests.matcher.reference_orders import Limits
from tests.matcher.story import Story, play, read_stories

FOLDER = Path(__file__).parent / "stories"
STORIES = list(read_stories(FOLDER))

every_story = pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.file}: {story.title}")


class CheckedEngine(Engine):
    """Asked to check itself after each command; one that was not carried out must leave no trace."""

    def apply(self, command: Command, time: int, sequence: int = 0) -> Result:
        before = self.state_hash()
        result = super().apply(command, time, sequence)
        self.check()
        if not isinstance(result, Outcome):
            assert self.state_hash() == before
        return result


class RecordingEngine(ReferenceEngine):
    """Keeps what it was told and what came of it."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.history: list[tuple[Command, Result]] = []

    def apply(self, command: Command, time: int, sequence: int = 0) -> Result:
        result = super().apply(command, time, sequence)
        self.history.append((command, result))
        return result


@every_story
def test_story_of_the_engine(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in story.settings.items():
        set_limit(monkeypatch, name, value)
    assert list(play(story, CheckedEngine())) == story.lines


@every_story
def test_story_of_the_reference(story: Story) -> None:
    assert list(play(story, ReferenceEngine(Limits(**story.settings)))) == story.lines


def test_everything_has_a_story() -> None:
    """Every command, event, answer, and reason to refuse or to cancel."""
    told: set[object] = set()
    for story in STORIES:
        engine = RecordingEngine(Limits(**story.settings))
        assert list(play(story, engine))
        for command, result in engine.history:
            told |= {type(command), type(result)}
            if isinstance(result, Outcome):
                told |= set(map(type, result.events))
    told |= {reason for reason in RejectReason if is_told(f"refused: {reason.value}")}
    told |= {reason for reason in CancelReason if is_told(f"({reason.value})")}
    assert {*Command.__args__, *Event.__args__, Repeated, *RejectReason, *CancelReason} - told == set()


def is_told(words: str) -> bool:
    return any(words in line for story in STORIES for line in story.lines)


def test_titles_name_one_story_each() -> None:
    """So that the documents can link to them."""
    titles = Counter((story.file, story.title) for story in STORIES)
    assert [title for title, count in titles.items() if count > 1] == []
