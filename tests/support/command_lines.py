"""Every command that the pages name, wherever they do: in blocks, in logs, in the middle of a sentence.

Blocks hold shell, so a line may be several commands (`a | b`, `a && b "$(c)"`). In a sentence a command may have
placeholders for its values (`pricetime journal --sequence N`), and be no more than a name (`pricetime keys`).
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("pricetime", "python", "make", "docker", "nats", "sh")
"""What can be judged without running it: everything that is ours, and what reads our files."""

_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^    [^\n]+\n)+", re.MULTILINE)
_EXPLANATION = re.compile(r"(?<=\S) {3,}[^\n]+")
_IN_A_SENTENCE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_SHELL = ("sh", "")
_PLACEHOLDERS = {"N": "1", "X": "2", "N..M": "1..2", "P": "1", "Q": "1"}
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_ENDS = {"|", "&&", "||", ";", "&", "(", ")"}
_REDIRECTIONS = {">", ">>", "<", ">&", "&>"}


@dataclass(frozen=True)
class Command:
    where: str
    words: tuple[str, ...]
    in_a_sentence: bool = False
    """It may be a name only, and its values placeholders."""

    @property
    def program(self) -> str:
        return self.words[0]

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def commands_of(page: Path, text: str | None = None) -> Iterator[Command]:
    text = page.read_text() if text is None else text
    name = str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name
    blocks = list(_BLOCK.finditer(text))
    for block in blocks:
        if block[1] in _SHELL:
            for words in simple_commands(_without_output(block[2])):
                yield Command(f"{name}:{_line(text, block.start())}", words)
    prose = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    for found in _INDENTED.finditer(prose):
        for words in simple_commands(found[0]):
            yield Command(f"{name}:{_line(prose, found.start())}", words)
    for found in _IN_A_SENTENCE.finditer(prose):
        for words in simple_commands(_with_values(found[1])):
            yield Command(f"{name}:{_line(prose, found.start())}", words, in_a_sentence=True)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _without_output(block: str) -> str:
    """Of a log, what was typed; of a list of commands, not what is said beside them."""
    typed = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    return "\n".join(typed) if typed else _EXPLANATION.sub("", block)


def _with_values(text: str) -> str:
    """What is optional is given, of two ways the first is taken, and what stands for a number is one."""
    text = re.sub(r"\s*\|\s*--?[\w-]+|(?<=\w)\|\w+", "", text.replace("\n", " "))
    words = text.replace("[", "").replace("]", "").replace(" ...", "").split(" ")
    return " ".join(_PLACEHOLDERS.get(word, word) for word in words)


def simple_commands(text: str) -> Iterator[tuple[str, ...]]:
    """Those of a piece of shell whose program is one of PROGRAMS."""
    for line in _lines(text.replace("\\\n", " ")):
        try:
            words = _split(line)
        except ValueError:  # an apostrophe: a sentence, or output
            continue
        for command in _simple(words):
            for inner in (word for word in command if "$(" in word):
                yield from simple_commands(inner[inner.index("$(") + 2 : inner.rindex(")")])
            if command and command[0] in PROGRAMS:
                yield tuple(command)


def _lines(text: str) -> Iterator[str]:
    """What is within quotes belongs to the line on which they open."""
    open_line = ""
    for line in text.splitlines():
        open_line += line + "\n"
        if open_line.count("'") % 2 == 0:
            yield open_line
            open_line = ""
    yield from open_line.splitlines()


def _split(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def _simple(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    skips = False
    for word in [*words, ";"]:
        if word in _ENDS:
            yield _named(command)
            command = []
        elif word in _REDIRECTIONS:
            skips = True
        elif skips:
            skips = False
        else:
            command.append(word)


def _named(command: list[str]) -> list[str]:
    """Without variables before it, and where its program lies."""
    while command and _ASSIGNMENT.match(command[0]):
        command = command[1:]
    return [command[0].removeprefix(".venv/bin/"), *command[1:]] if command else []
