"""The exchange in one process on virtual time: faults by seed, invariants after each (docs/simulation.md)."""
