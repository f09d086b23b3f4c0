"""What the tables of the journal's database have in common."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ClassVar

__all__ = ["Table", "Writing"]

Writing = Callable[[], AbstractContextManager[sqlite3.Connection]]
"""Begins a transaction, and raises `PoolError` if it cannot be written."""


class Table:
    """One or more tables of the journal's database, made when they are not there yet.

    Parameters
    ----------
    db : Connection
        The journal's.
    writing : callable
        Returns a transaction on it.
    """

    schema: ClassVar[str]
    """The statements that make them."""

    def __init__(self, db: sqlite3.Connection, writing: Writing) -> None:
        self._db = db
        self._writing = writing
        db.executescript(self.schema)
