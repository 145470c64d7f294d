"""The report on the page judges what it says it judges."""

from dataclasses import replace

import pytest

from bench.page_report import PageRun, Sample, Scene, markdown

SCENE = Scene(browser="Chromium 1", rows=400, canvases=4, tape=50)


def sample(number: int, **values: float) -> Sample:
    made = Sample(
        at=10.0 * (number + 1),
        changes=200.0,
        main_thread=0.2,
        tasks=0.3,
        script=0.1,
        layout=0.05,
        processes={"renderer": 0.3, "GPU": 0.2},
        heap_megabytes=10.0,
        nodes=2_000,
        listeners=40,
    )
    return replace(made, **values)  # type: ignore[arg-type]


def run(**values: object) -> PageRun:
    return replace(PageRun(200, 200.0, SCENE, [sample(n) for n in range(60)], ()), **values)  # type: ignore[arg-type]


def test_a_light_and_level_page_is_good() -> None:
    assert run().is_good
    page = markdown(run(), {"processor": "one"}, "now")
    assert page.startswith("# The trading page for 10.0 minutes, now: held")
    assert "| main thread of the page | 0.20 | 0.20 | 0.50 | reached |" in page
    assert "| all processes of the browser | 0.50 | 0.50 | | |" in page


@pytest.mark.parametrize(
    "samples",
    [
        [sample(n, changes=150.0) for n in range(60)],
        [sample(n, main_thread=0.6) for n in range(60)],
        [replace(sample(n), processes={"renderer": 0.6}) for n in range(60)],
        [sample(n, heap_megabytes=10 + n / 10) for n in range(60)],
        [sample(n, nodes=2_000 + 20 * n) for n in range(60)],
        [sample(n, listeners=40 + 4 * n) for n in range(60)],
    ],
    ids=["too few changes", "busy page", "busy process", "heap", "nodes", "listeners"],
)
def test_what_is_busy_or_grows_is_not(samples: list[Sample]) -> None:
    assert not run(samples=samples).is_good


def test_what_stands_on_the_console_is_wrong() -> None:
    assert not run(problems=["no such thing"]).is_good
    assert "**WRONG**: no such thing" in markdown(run(problems=["no such thing"]), {}, "now")
