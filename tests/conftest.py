"""Fixtures that every test may ask for: real servers, and a whole running stack."""

pytest_plugins = ["tests.support.servers", "tests.support.stack", "tests.support.matchers"]
