"""``python -m jupyter_compute`` is ``jupyter compute``."""

import sys

from .cli import main

sys.exit(main())
