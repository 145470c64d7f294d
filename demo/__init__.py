"""Simulated traders that make `pricetime demo` move. Each is an example of a bot, and uses only pricetime_client."""
