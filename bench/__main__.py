"""`python -m bench`, which is what `make bench` runs."""

import argparse
import sys

from bench.command import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m bench", description="Each figure beside its floor, from one run.")
add_arguments(parser)
sys.exit(run(parser.parse_args()))
