"""What a stopped map leaves: its results, until the notebook has taken them."""

from __future__ import annotations

from jupyter_compute.pool.lanes import Leftovers


def test_what_a_notebook_has_not_taken_is_kept_of_the_last_maps() -> None:
    left = Leftovers()
    left.put("r-0", [{"seq": 1}, {"seq": 2}, {"seq": 3}])
    assert [piece["seq"] for piece in left.of("r-0", 1)] == [2, 3]
    assert left.of("r-none", 0) == []
    for number in range(1, 9):
        left.put(f"r-{number}", [{"seq": 1}])
    assert left.of("r-0", 0) == []
    assert left.of("r-1", 0) == [{"seq": 1}]
