from runtime.metrics import CATALOGUE
from tools.metrics_reference import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python -m tools.metrics_reference --write"


def test_every_metric_is_on_it_once() -> None:
    text = page()
    assert [metric.name for metric in CATALOGUE if text.count(f"| `{metric.name}` |") != 1] == []
