"""tracebook-conformance qualifies the engine: an oracle that strangers wrote, over a process boundary.

All three FIFO profiles that Tracebook publishes are qualified with its documented campaign (seed 42, 25 traces of 200
events) and the fixed cases that belong to each. Of its fixed suites all cases conform but those that ask for pro-rata
matching, which is not ours: the adapter refuses them by name. Self-trade prevention is also judged over random traces.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace as replace_message
from tracebook import SelfTradePolicy
from tracebook.conformance import run_conformance
from tracebook.conformance.campaign import campaign_profile_names, generate_campaign_trace
from tracebook.conformance.external import AdapterProtocolError, ExternalProcessAdapterFactory
from tracebook.conformance.model import BookState, ConformanceConfig, EngineMetadata, Observation
from tracebook.conformance.suite import SuiteCase, copy_bundled_conformance_suite
from tracebook.events import MarketEvent

from contracts.messages import PlaceOrder
from tests.conformance.adapter import ENGINE, NO_OWNER, Candidate, lots, parse

REPOSITORY = Path(__file__).parents[2]
ADAPTER = [sys.executable, "-m", "tests.conformance.adapter"]
PROFILES = ["fifo-full-v1", "fifo-limit-v1", "fifo-partial-fill-v1"]
PATIENCE_SECONDS = 120.0
"""For an answer of the adapter: its own are five, which a busy machine does not keep."""
NOT_OURS = {"pro-rata-allocation": "by price and time, not pro_rata"}


def test_these_are_all_the_profiles_there_are() -> None:
    assert list(campaign_profile_names()) == PROFILES


@pytest.mark.parametrize("profile", PROFILES)
def test_qualifies(profile: str, tmp_path: Path) -> None:
    qualification = qualify(profile, tmp_path / "qualification")

    assert qualification["qualified"] is True
    assert qualification["profile"]["name"] == profile
    checks = qualification["checks"]
    assert checks["fixed_cases"]["passed"] == checks["fixed_cases"]["total"] > 0
    assert checks["generated_campaign"] == {"completed_traces": 25, "requested_traces": 25, "conformant": True}
    assert checks["semantic_coverage"]["uncovered"] == []


def qualify(profile: str, output: Path) -> dict[str, Any]:
    options = ["--profile", profile, "--seed", "42", "--traces", "25", "--events-per-trace", "200"]
    options += ["--timeout", str(PATIENCE_SECONDS)]
    command = [sys.executable, "-m", "tracebook.conformance.cli", "qualify", *options, "--output-dir", str(output)]
    run = subprocess.run(
        [*command, "--candidate", *ADAPTER], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    report: dict[str, Any] = json.loads((output / "qualification.json").read_text())
    return report


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_fixed_case_conforms_or_is_refused_by_name(version: str, tmp_path: Path) -> None:
    suite = copy_bundled_conformance_suite(tmp_path / version, suite_version=version)
    adapter = ExternalProcessAdapterFactory(ADAPTER, cwd=REPOSITORY, timeout_seconds=PATIENCE_SECONDS)
    assert {case.name for case in suite.cases} >= {"order-instructions", "stp-cancel-incoming", *NOT_OURS}
    for case in suite.cases:
        if why := NOT_OURS.get(case.name):
            with pytest.raises(AdapterProtocolError, match=why):
                run_case(case, adapter)
        else:
            assert run_case(case, adapter), case.name


@pytest.mark.parametrize("policy", [SelfTradePolicy.CANCEL_RESTING, SelfTradePolicy.CANCEL_INCOMING])
@pytest.mark.parametrize("seed", range(5))
def test_self_trade_prevention_conforms_over_random_traces(policy: SelfTradePolicy, seed: int) -> None:
    """Its campaigns know no such policy; their traces with a few owners, some orders without, do."""
    assert conforms_with_owners(Candidate, policy, seed)
    assert not conforms_with_owners(TradesWithItself, policy, seed)


def conforms_with_owners(candidate: type[Candidate], policy: SelfTradePolicy, seed: int) -> bool:
    random = Random(seed)
    trace = generate_campaign_trace("fifo-full-v1", seed, 300)
    events = [replace(event, owner=random.choice((NO_OWNER, 1, 2, 3))) for event in trace]
    adapter = type("Owned", (InProcess,), {"candidate_type": candidate})
    return bool(run_conformance(events, adapter, config=ConformanceConfig(self_trade_policy=policy)).conformant)


def run_case(case: SuiteCase, adapter: ExternalProcessAdapterFactory) -> bool:
    report = run_conformance(case.load_events(), adapter, config=case.config, trace_name=case.name)
    return bool(report.conformant)


# What a wrong engine would get: the harness must not be easy to please


class InProcess:
    """The adapter without a process, so that a test can spoil it."""

    candidate_type: type[Candidate] = Candidate

    def __init__(self, config: ConformanceConfig) -> None:
        self.metadata = EngineMetadata.from_dict(ENGINE)
        self.candidate = self.candidate_type(parse(json.dumps(config.to_dict())))

    def apply(self, event: MarketEvent, index: int) -> Observation:
        return Observation.from_dict(self.candidate.observe(index, parse(json.dumps(event.to_dict()))))

    def snapshot(self) -> BookState:
        return BookState.from_dict(self.candidate.state())

    def close(self) -> None:
        """Nothing is open."""


class LosesPlaceWhenReduced(Candidate):
    def reduce(self, event: dict[str, Any]) -> str | None:
        return super().reduce(event) or self.replace(event | {"price": None, "quantity": None})


class TradesWithItself(Candidate):
    def owned(self, order: PlaceOrder, owner: int) -> PlaceOrder:
        return replace_message(super().owned(order, owner), terms=None)


class AlwaysAmends(Candidate):
    """Our amend keeps the place of an order that only gets smaller; Tracebook's `replace` never does."""

    def replace(self, event: dict[str, Any]) -> str | None:
        order_id = self.order_id(event)
        remaining = self.remaining(event["symbol"], order_id)
        if remaining is None:
            return super().replace(event)
        price = None if event["price"] is None else self.ticks(event["price"])
        wanted = remaining if event["quantity"] is None else lots(event["quantity"])
        return self.change(order_id, price, self.sources[order_id].quantity - remaining + wanted)


@pytest.mark.parametrize(
    ("candidate", "conforms"), [(Candidate, True), (LosesPlaceWhenReduced, False), (AlwaysAmends, False)]
)
def test_a_wrong_queue_is_noticed(candidate: type[Candidate], conforms: bool) -> None:
    adapter = type("Spoiled", (InProcess,), {"candidate_type": candidate})
    events = generate_campaign_trace("fifo-limit-v1", 42, 200)
    assert run_conformance(events, adapter).conformant is conforms
