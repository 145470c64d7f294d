"""Pages as somebody reads them who pastes all that they show, from top to bottom, in a folder of his own.

A fenced block of a page is

- `sh`: run by bash. Variables and the folder that it changes to hold for the blocks after it.
- `python`: run as a program; or, if its first line is a comment with a file's name (`# maker.py`), saved as that file.
- `text`, directly after a block that is run: what that shows. `...` stands for anything.

Comments right before a block, which readers of the page do not see, say what is different:

- `<!-- test: not run: why -->`
- `<!-- test: installs -->`: pasted only by a reader who has installed nothing yet
- `<!-- test: goes on -->`, or `<!-- test: goes on once it says "ready" -->`: it runs in a terminal of its own
- `<!-- test: again until it shows this -->`: what is shown may take a moment to come
- `<!-- test: Ctrl-C "pricetime up" -->`, before nothing: the program whose command holds that is stopped as by Ctrl-C
- `<!-- test: "maker.py" says "position" -->`, before nothing: its terminal shows that, now or in a moment
"""

import doctest
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers import wait_until

ROOT = Path(__file__).parents[2]
RUN = ("sh", "python")
STOP_SECONDS = 60

_STEP = re.compile(
    r'^<!-- test: Ctrl-C "(?P<stop>[^"]+)" -->$'
    r'|^<!-- test: "(?P<speaker>[^"]+)" says "(?P<heard>[^"]+)" -->$'
    r"|^(?:<!-- test: (?P<mark>[^\n]+) -->\n)?```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$"
    r"(?P<shows>\n+```text\n(?P<shown>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_SAYS = re.compile(r'goes on(?: once it says "([^"]+)")?')
_AGAIN = "again until it shows this"
_INSTALLS = "installs"
_NOT_RUN = re.compile(r"not run: (.+)")
_FILE = re.compile(r"# ([\w-]+\.py)\n")
_DIFFERENCES = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_ENDED = (0, 130, -signal.SIGINT)


@dataclass(frozen=True)
class Step:
    """One block of a page (`shown`: what it must show), or a program that is to be ended (`stop`) or to be heard
    (`speaker`)."""

    line: int
    language: str = ""
    text: str = ""
    mark: str = ""
    shown: str | None = None
    stop: str = ""
    speaker: str = ""
    heard: str = ""

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.installs and self.why_not_run is None

    @property
    def installs(self) -> bool:
        return self.mark == _INSTALLS

    @property
    def why_not_run(self) -> str | None:
        found = _NOT_RUN.fullmatch(self.mark)
        return found and found[1]

    @property
    def says(self) -> str | None:
        """In a terminal of its own, until this; None: the page goes on when it has ended."""
        found = _SAYS.fullmatch(self.mark)
        return (found[1] or "") if found else None

    @property
    def file(self) -> str | None:
        """The name to save it as."""
        found = _FILE.match(self.text) if self.language == "python" else None
        return found and found[1]


def steps(text: str) -> list[Step]:
    return [
        Step(
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"] or "",
            text=found["text"] or "",
            mark=found["mark"] or "",
            shown=found["shown"] if found["shows"] else None,
            stop=found["stop"] or "",
            speaker=found["speaker"] or "",
            heard=found["heard"] or "",
        )
        for found in _STEP.finditer(text)
    ]


@dataclass
class Terminal:
    """A program that goes on while the page is read on."""

    command: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(STOP_SECONDS)
        assert code in _ENDED, f"{self.command}\nended with {code}:\n{self.output[-4000:]}"
        assert "Traceback" not in self.output, f"{self.command}\n{self.output[-4000:]}"

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


@dataclass
class Reader:
    """Somebody in `folder` with `ports` for those that pages name, as the named ones may be taken here.

    `python` and `pricetime` are the ones of this environment, as they are for a reader who has activated his own; but
    who `installs` has only what a machine has, and a checkout in `~/pricetime`.
    """

    folder: Path
    ports: Mapping[int, int] = field(default_factory=dict)
    installs: bool = False
    patience: float = 90
    """Seconds for what takes a moment."""
    terminals: list[Terminal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk.mkdir(parents=True)
        self._state.mkdir()
        self._variables.touch()
        self._where.write_text(f"{self.desk}\n")
        if not self.installs:
            self._provide_programs()

    def _provide_programs(self) -> None:
        self._programs.mkdir(parents=True)
        self._write_program("python", f'exec {shlex.quote(sys.executable)} "$@"')
        pricetime = f"{shlex.quote(sys.executable)} -P -m cli.main"
        self._write_program(
            "pricetime",
            'case "${1-}" in\n'
            f'up|demo) c=$1; shift; exec {pricetime} "$c" --http-port {self.ports[8000]} --ws-port {self.ports[8001]}'
            f' --nats-port {self.ports[4222]} "$@" ;;\n'
            f'*) exec {pricetime} "$@" ;;\nesac',
        )

    @property
    def desk(self) -> Path:
        return self.folder / "desk"

    @property
    def _programs(self) -> Path:
        return self.desk / ".venv" / "bin"

    @property
    def _state(self) -> Path:
        return self.folder / "state"

    @property
    def _variables(self) -> Path:
        return self._state / "variables"

    @property
    def _where(self) -> Path:
        return self._state / "where"

    def _write_program(self, name: str, text: str) -> None:
        program = self._programs / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)

    def read(self, page: Path) -> None:
        """Paste every block, and look whether it shows what the page says: a refusal only if the page says so."""
        for step in steps(page.read_text()):
            if step.stop:
                self.end(step.stop)
            elif step.speaker:
                self.hear(step.speaker, step.heard)
            elif step.is_run or (step.installs and self.installs):
                self._take(step, f"{page.name}:{step.line}")

    def _take(self, step: Step, where: str) -> None:
        text = self.here(step.text)
        if step.file:
            (self._current / step.file).write_text(text)
            return
        said = self._say(step, text, where)
        if step.shown is None:
            assert '"code":"' not in said, f"{where} is refused:\n{said}"
        else:
            assert is_shown(step.shown, said), f"{where} shows:\n{step.shown}\nIt is:\n{said}"

    def _say(self, step: Step, text: str, where: str) -> str:
        if step.says is not None:
            return self.back(self.begin(text, step.says))
        if step.mark == _AGAIN:
            tries: list[str] = []
            if wait_until(lambda: self._shows_by_now(step, text, where, tries), self.patience):
                return tries[-1]
        return self.back(self.paste(step.language, text, where))

    def _shows_by_now(self, step: Step, text: str, where: str, tries: list[str]) -> bool:
        try:
            tries.append(self.back(self.paste(step.language, text, where)))
        except AssertionError:  # it may not even work yet
            return False
        return is_shown(step.shown or "", tries[-1])

    def here(self, text: str) -> str:
        """With the ports of this exchange."""
        for named, real in self.ports.items():
            text = re.sub(rf"(?<=:){named}\b", str(real), text)
        return text

    def back(self, text: str) -> str:
        for named, real in self.ports.items():
            text = re.sub(rf"\b{real}\b", str(named), text)
        return text

    @property
    def _current(self) -> Path:
        return Path(self._where.read_text().rstrip("\n"))

    def paste(self, language: str, text: str, where: str = "") -> str:
        done = subprocess.run(
            self._command(text if language == "sh" else f"python -c {shlex.quote(text)}"),
            cwd=self._current,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600 if self.installs else 120,
            check=False,
        )
        assert done.returncode == 0, f"{where}\n{text}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def begin(self, text: str, says: str) -> str:
        """Start it in a terminal of its own; returns what it has said once it has said this."""
        log = self._state / f"terminal-{len(list(self._state.iterdir()))}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(text),
                cwd=self._current,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        terminal = Terminal(text, process, log)
        self.terminals.append(terminal)
        wait_until(lambda: self.here(says) in terminal.output or process.poll() is not None, 90)
        assert self.here(says) in terminal.output, f"{text}\nhas not said {says!r}:\n{terminal.output[-4000:]}"
        return terminal.output

    def hear(self, command: str, says: str) -> None:
        """Return once it has said this."""
        terminal = self._terminal(command)
        assert wait_until(lambda: says in terminal.output, self.patience), (
            f"{command} says no {says!r}:\n{terminal.output[-4000:]}"
        )

    def _terminal(self, command: str) -> Terminal:
        (found,) = [each for each in self.terminals if command in each.command]
        return found

    def end(self, command: str) -> None:
        terminal = self._terminal(command)
        self.terminals.remove(terminal)
        terminal.end()

    def leave(self) -> None:
        """End all that still runs, the exchange last."""
        for terminal in reversed(self.terminals):
            terminal.kill()
        self.terminals.clear()

    def _command(self, text: str) -> list[str]:
        variables, where = shlex.quote(str(self._variables)), shlex.quote(str(self._where))
        script = f". {variables}\nset -aeuo pipefail\n{text}\nset +u\nexport -p >{variables}\npwd >{where}\n"
        return ["bash", "-c", script]

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PRICETIME_", "NATS_")) and "proxy" not in name.lower()
        }
        if self.installs:
            own = {"HOME": str(self.folder), "PATH": f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin"}
        else:
            own = {"PATH": f"{self._programs}{os.pathsep}{inherited['PATH']}"}
        return inherited | own | {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"}


def is_shown(shown: str, said: str) -> bool:
    return doctest.OutputChecker().check_output(shown, said, _DIFFERENCES)
