"""Folds the journal into Postgres, exactly once."""
