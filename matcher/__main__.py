"""`python -m matcher`: the process."""

from matcher.service import main
from runtime.service import run

run("matcher", main)
