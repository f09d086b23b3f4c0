"""``python -m jupyter_compute.pool``: the pool service of this user."""

import sys

from jupyter_compute.pool.start import main

sys.exit(main())
