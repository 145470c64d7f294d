"""python -m gateway: the REST interface."""

import gc

from gateway.service import main
from runtime.service import run

if __name__ == "__main__":
    gc.freeze()  # the modules stay; and requests leave no cycles behind, so the collector may come less often
    gc.set_threshold(20_000)
    run("gateway", main)
