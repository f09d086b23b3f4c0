"""Whether machines can have the packages of a notebook. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["refusal"]

_MOST_NAMED = 5


def refusal(layer: str, found: Mapping[str, Any], *, public: bool) -> str:
    """Return why machines cannot have the packages, nothing if they can.

    Parameters
    ----------
    layer : str
    found : mapping
        As `jupyter_compute.packages.describe` tells it.
    public : bool
        True if machines install from the public index, of which it is known what it has not.
    """
    reasons = [
        f"{name} was installed from {where}" for name, where in sorted(found["local"].items())
    ]
    if public:
        reasons += [f"{name} {why}" for name, why in sorted(found["built"].items())]
    if not reasons:
        return ""
    named = ", ".join(reasons[:_MOST_NAMED])
    if len(reasons) > _MOST_NAMED:
        named += f", and {len(reasons) - _MOST_NAMED} more are like this"
    return f"{named}: machines of {layer} cannot install that, they install from a package index"
