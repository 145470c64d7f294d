"""python -m gateway: the REST interface."""

from gateway.service import main
from runtime.service import run

if __name__ == "__main__":
    run("gateway", main)
