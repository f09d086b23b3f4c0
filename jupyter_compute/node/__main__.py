"""``python -m jupyter_compute.node``: see `jupyter_compute.node.main`."""

from .main import main

main()
