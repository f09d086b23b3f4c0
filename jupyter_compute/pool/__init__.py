"""The pool service: queue, machines, runs and their records, in one process per user."""
