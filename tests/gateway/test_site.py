"""The pages for people come whole from this package."""

import re
from importlib import resources

from entry.problems import CODES
from entry.stream_codes import STREAM_CODES
from gateway.places import socket_url
from gateway.site import error_rows, site_routes
from runtime.settings import Settings

STATIC = resources.files("gateway") / "static"
PAGES = ("home.html", "docs.html", "errors.html")


def test_every_code_has_its_place_on_the_page_of_errors() -> None:
    codes = {**CODES, **STREAM_CODES}
    assert len(codes) == len(CODES) + len(STREAM_CODES)
    rows = error_rows()
    assert re.findall(r'<tr id="(\w+)">', rows) == sorted(codes, key=lambda name: (codes[name].status, name))


def test_pages_load_only_what_is_served_here() -> None:
    served = {route.path for route in site_routes("BTC-USD", socket_url(Settings()))}
    for name in PAGES:
        page = (STATIC / name).read_text()
        loaded = re.findall(r'(?:src|rel="\w+" href)="([^"]+)"', page)
        assert loaded
        assert set(loaded) <= served, name
        assert "<script>" not in page


def test_our_scripts_and_styles_name_no_other_host() -> None:
    for name in (*PAGES, "home.js", "docs.js", "site.css"):
        found = re.findall(r"https?://[^\s\"'<]+", (STATIC / name).read_text())
        assert set(found) <= {"http://127.0.0.1:8000"}, name


def test_the_documentation_calls_no_validator() -> None:
    assert "validatorUrl: null" in (STATIC / "docs.js").read_text()


def test_the_vendored_part_says_what_it_is() -> None:
    folder = STATIC / "vendor" / "swagger-ui"
    version = (folder / "VERSION").read_text().split()[1].rstrip(",")
    assert version.startswith("5.")
    assert version in (folder / "swagger-ui-bundle.js").read_text()
    assert "Apache License" in (folder / "LICENSE").read_text()
