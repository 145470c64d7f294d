import subprocess
import sys
import time

import pytest

from bench.processor import CLIENT, Processors, name_of

BUSY = "import sys, time\nwhile time.process_time() < 0.1: pass\nprint('done', flush=True)\nsys.stdin.read()"


def test_processor_time_of_this_process_and_of_those_it_has_started() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", BUSY], **pipes) as child:  # type: ignore[call-overload]
        processors = Processors()
        before = dict.fromkeys(processors.seconds(), 0.0)
        child.stdout.readline()
        spent = processors.since(before)
        assert spent[name_of([sys.executable])] >= 0.09
        before = processors.seconds()
        started = time.process_time()
        while time.process_time() < started + 0.05:
            pass
        assert 0.03 <= processors.since(before)[CLIENT] < 5
        child.communicate()
    assert processors.seconds()[name_of([sys.executable])] == 0  # it has ended, and nothing is raised


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/usr/bin/python3", "-m", "matcher"], "matcher"),
        (["/usr/bin/python3", "-m", "bench.echo"], "echo"),
        (["/opt/bin/nats-server", "-c", "local.conf"], "nats-server"),
        (["/opt/bin/postgres", "-D", "data"], "postgres"),
        (["postgres: io worker 0", "", ""], "postgres"),
    ],
)
def test_processes_have_short_names(command: list[str], name: str) -> None:
    assert name_of(command) == name
