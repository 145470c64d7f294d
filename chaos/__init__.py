"""Faults on purpose: a whole exchange under a recorded workload, broken at random, and judged afterwards."""
