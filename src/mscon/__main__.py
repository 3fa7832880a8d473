"""`python -m mscon`, which imports what the script `mscon` would."""

import os
import sys

# `python -m` looks in the current folder first, which may be one that someone sent, with a timm.py of its own in it.
if not sys.flags.safe_path and sys.path[0] == os.getcwd():
    del sys.path[0]

from mscon.cli import main

sys.exit(main())
