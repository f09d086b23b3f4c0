"""How moto is changed."""

from __future__ import annotations

from typing import Any

__all__ = ["replace"]


def replace(owner: Any, name: str, value: Any) -> Any:
    """Put a value in the place of moto's own, which is returned.

    Raises
    ------
    AttributeError
        If moto has no such name any more, so that a change of moto is not overlooked.
    """
    before = getattr(owner, name)
    setattr(owner, name, value)
    return before
