"""How a command fails when the reason is not a bug: one line, and exit code 2."""


class CommandError(Exception):
    """The command cannot do what was asked; the message is one line that says why and what to do."""
