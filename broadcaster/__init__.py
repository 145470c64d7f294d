"""Folds the journal into depth and trades, and streams them to everyone."""
