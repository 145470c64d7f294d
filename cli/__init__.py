"""The `pricetime` command."""
