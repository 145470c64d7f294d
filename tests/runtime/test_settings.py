"""Settings from the environment: defaults, conversion, and errors that name the variable."""

import pytest

from runtime.settings import Settings, SettingsError, load_settings, named_folders


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load_settings({}) == Settings()


def test_only_our_own_variables_are_read() -> None:
    assert load_settings({"HOME": "/root", "NATS_URL": "nats://elsewhere", "HTTP_PORT": "x"}) == Settings()


def test_values_are_converted_to_their_types() -> None:
    settings = load_settings(
        {"PRICETIME_HTTP_PORT": "0", "PRICETIME_READ_WAIT_SECONDS": "0.25", "PRICETIME_NATS_URL": "nats://h:1"}
    )
    assert (settings.http_port, settings.read_wait_seconds, settings.nats_url) == (0, 0.25, "nats://h:1")


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_PORT", "http"), ("BACKLOG_COMMANDS", "1.5"), ("READ_WAIT_SECONDS", "soon"), ("HTTP_FD", "three")],
)
def test_a_value_that_cannot_be_used_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"PRICETIME_{name}"):
        load_settings({f"PRICETIME_{name}": value})


def test_proxies_that_cannot_be_read_are_named_with_their_variable() -> None:
    assert load_settings({"PRICETIME_TRUSTED_PROXIES": "10.0.0.0/8, ::1"}).trusted_proxies == "10.0.0.0/8, ::1"
    with pytest.raises(SettingsError, match=r"PRICETIME_TRUSTED_PROXIES: 'caddy' is no address .* like 127\.0\.0\.1,"):
        load_settings({"PRICETIME_TRUSTED_PROXIES": "127.0.0.1,caddy"})


def test_an_unknown_variable_is_named() -> None:
    """Most likely a spelling mistake: better said than ignored."""
    with pytest.raises(SettingsError, match="PRICETIME_HTP_PORT"):
        load_settings({"PRICETIME_HTP_PORT": "8000"})


def test_a_backlog_that_could_not_hold_one_request_is_refused() -> None:
    assert load_settings({"PRICETIME_BACKLOG_COMMANDS": "500"}).backlog_commands == 500
    with pytest.raises(SettingsError, match="PRICETIME_BACKLOG_COMMANDS is '499'"):
        load_settings({"PRICETIME_BACKLOG_COMMANDS": "499"})


def test_folders_to_watch_have_names() -> None:
    assert named_folders("") == {}
    assert named_folders("nats=/disks/nats, postgres=/a=b") == {"nats": "/disks/nats", "postgres": "/a=b"}


@pytest.mark.parametrize("value", ["/disks/nats", "nats=", "=/disks/nats", "nats=/a,/b"])
def test_a_folder_to_watch_without_a_name_is_refused_with_what_to_write(value: str) -> None:
    with pytest.raises(SettingsError, match=r"PRICETIME_WATCHED_FOLDERS has .*: write NAME=FOLDER"):
        load_settings({"PRICETIME_WATCHED_FOLDERS": value})
