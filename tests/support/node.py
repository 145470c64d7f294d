"""Node.js, for what is tried in JavaScript: from the machine, or from the wheel that `make node` installs."""

import shutil
import sys
from pathlib import Path


def node() -> str:
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    assert found is not None, "there is no node; run `make node`"
    return found
