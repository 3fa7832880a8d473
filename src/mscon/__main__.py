"""`python -m mscon`."""

import sys

from mscon.cli import main

sys.exit(main())
