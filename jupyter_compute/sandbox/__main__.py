"""The sandbox process: ``python -m jupyter_compute.sandbox``, started by `start.up`."""

from .process import main

if __name__ == "__main__":
    raise SystemExit(main())
