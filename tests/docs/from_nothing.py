"""`make tutorial`: the tutorial, pasted by somebody who has a machine with Python and a checkout, and nothing else.

It installs into an empty folder, so it takes a minute and needs PyPI, and it uses the ports that the page names.
"""

import subprocess
import sys
import time

from tests.support.pages import ROOT, Reader
from tests.support.servers import temporary_folder


def main() -> int:
    with temporary_folder() as home:
        checkout = home / "pricetime"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
        reader, began = Reader(home, installs=True), time.monotonic()
        try:
            reader.read(checkout / "docs" / "tutorial.md")
        finally:
            reader.leave()
        print(f"All of the tutorial works, from an empty folder, in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
