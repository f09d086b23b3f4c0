"""A client of the pool's state, as simple as one can be: what it holds is what users would see."""

from __future__ import annotations

from typing import Any

from jupyter_compute.notebook.mirror import SPAN_S, Mirror, Points

__all__ = ["SPAN_S", "Panel", "Points"]


class Panel(Mirror):
    """The copy that the dashboard holds, with what tests compare."""

    def shown(self) -> dict[str, Any]:
        """Return all that is equal in two panels that have seen the same."""
        total = _known(self.total)
        facts = {**self.facts, "spending": self.spending}
        return {"machines": self.machines, "runs": self.runs, "facts": facts, "total": total}

    def series(self, after: int) -> dict[tuple[str, str], Points]:
        """Return every subject's samples after a second."""
        late = {s: {t: v for t, v in p.items() if t > after} for s, p in self.points.items()}
        return {subject: known for subject, p in late.items() if (known := _known(p))}


def _known(points: Points) -> Points:
    return {second: value for second, value in points.items() if value is not None}
