"""`python -m tracelet`: the command line, and the entry of delivery processes (which need no CLI library)."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    if sys.argv[1:2] == ["deliver"]:
        from tracelet.host.deliver import main as deliver

        deliver(Path(sys.argv[2]), sys.argv[3])
    else:
        from tracelet.cli import main

        main()
