"""Journals with everything that an exchange can do in them, as the reference decides it: no matcher is needed.

journal, reference = rich_journal(1)                     # a random flow over all commands and order kinds
"""

from random import Random

from contracts.messages import Command, Outcome
from tests.matcher.flows import RICH_PROFILES, Flow, Profile
from tests.matcher.reference import ReferenceEngine
from tests.support.journals import Journal

EVERYTHING = RICH_PROFILES[0]
MOST_COMMANDS_PER_COMMIT = 6


def rich_journal(
    seed: int, commands: int = 600, profile: Profile = EVERYTHING, journal: Journal | None = None
) -> tuple[Journal, ReferenceEngine]:
    """Commits of a few commands each, and the reference as it is after them."""
    random = Random(f"{profile.name} {seed}")
    journal = journal or Journal()
    reference = ReferenceEngine(profile.limits)
    flow = Flow(profile, reference, random)
    journal.barrier()
    taken: list[tuple[Command, Outcome]] = []
    room, time = 0, flow.time
    for command in flow.placed(commands):
        if not room:
            room, time = random.randint(1, MOST_COMMANDS_PER_COMMIT), flow.time
        result = reference.apply(command, time, len(journal.written) + 1)
        if isinstance(result, Outcome):
            taken.append((command, result))
        room -= 1
        if not room and taken:
            journal.commit(*taken, time=time)
            taken = []
    if taken:
        journal.commit(*taken, time=time)
    return journal, reference
