"""The page of the terminal's commands is what the commands themselves say."""

from cli.main import COMMANDS, make_parser
from tools.cli_reference import PAGE, _commands_of, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "a command has changed: run `python -m tools.cli_reference --write`"


def test_it_has_every_command_and_every_option() -> None:
    text = page()
    for name, parser in _commands_of(make_parser()).items():
        section = text[text.index(f"### pricetime {name}\n") :]
        below = [option for each in _commands_of(parser).values() for option in each._option_string_actions]
        for option in {*parser._option_string_actions, *below} - {"-h", "--help"}:
            assert f"`{option}`" in section or f"`{option} " in section, f"{name} {option}"


def test_every_option_is_explained() -> None:
    for name in COMMANDS:
        parser = _commands_of(make_parser([name]))[name]
        for each in (parser, *_commands_of(parser).values()):
            unexplained = [action.dest for action in each._actions if not action.help and action.dest != "action"]
            assert unexplained == [], each.prog
