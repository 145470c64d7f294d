"""What a run did and saw, as a page: every command with what is worth reading of its output."""

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROGRESS = re.compile(r" (Container|Network|Volume) ")
"""What compose is doing just now."""


class CommandFailed(Exception):
    """The message is the command and what it printed."""


@dataclass
class Log:
    """`say` shows the same on the terminal while it happens."""

    say: Callable[[str], None]
    lines: list[str] = field(default_factory=list)
    _block: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def section(self, title: str, about: str = "") -> None:
        self._end_block()
        self.say(f"\n== {title} ({time.monotonic() - self._started:.0f} s)")
        self.lines += ["", f"## {title}"]
        if about:
            self.lines += [about, ""]

    def text(self, line: str) -> None:
        self._end_block()
        self.say(line)
        self.lines.append(line)

    def note(self, line: str) -> None:
        """What was looked at after a command, in one line beside it."""
        self.say(f"  {line}")
        self._block.append(f"# {line}")

    def command(
        self, shown: str, command: Sequence[str], *, keep: str | None = "", last: int = 12, fails: bool = False
    ) -> str:
        """Runs it. Kept are the lines that `keep` is found in, the last ones; None: none of them.

        Raises CommandFailed when it fails and need not, or the other way round.
        """
        self.say(f"$ {shown}")
        started = time.monotonic()
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        output = _TERMINAL.sub("", done.stdout.decode(errors="replace")).strip()
        if (done.returncode != 0) != fails:
            raise CommandFailed(f"{shown}: exit status {done.returncode}\n{output[-6000:]}")
        lines = [line.rstrip() for line in output.splitlines() if not _PROGRESS.match(line)]
        found = [] if keep is None else [line for line in lines if re.search(keep, line)]
        self._block += [f"$ {shown}", *(line[:160] for line in found[-last:])]
        self._block.append(f"# exit status {done.returncode}, {time.monotonic() - started:.1f} s")
        return output

    def _end_block(self) -> None:
        if self._block:
            self.lines += ["```", *self._block, "```"]
            self._block.clear()

    @property
    def page(self) -> str:
        self._end_block()
        return "\n".join(self.lines).strip() + "\n"
