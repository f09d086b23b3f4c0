"""Whatever happens to a pool: a panel that is told of the changes shows what a new one shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from jupyter_compute.pool.picture import MAX_BYTES, Picture, Scene, fitting, weight
from panels import Panel

_START = 1_760_000_000

_any_text = st.text(max_size=300)
_numbers = st.one_of(
    st.none(),
    st.integers(0, 10**15),
    st.floats(0, 10**6).map(lambda x: round(x, 3)),
    st.sampled_from([1760000000.123, 0.000001, 0.0]),
)
_items = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True),
        "name": _any_text,
        "reason": _any_text,
        "finished": _numbers,
        "receipt": st.one_of(st.none(), st.fixed_dictionaries({"run_s": _numbers})),
    }
)


def _points(now: float, number: int) -> list[tuple[float, float, float]]:
    return [(now - age, number + age % 7, 1e9 + number) for age in range(310, -1, -1)]


class _Pool(RuleBasedStateMachine):
    """A pool in which anything may happen, two panels that look at times, and one that is new."""

    def __init__(self) -> None:
        super().__init__()
        self.now = float(_START)
        self.picture = Picture("e")
        self.machines: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.panels = [Panel(), Panel()]
        self.number = 0
        self.spending: dict[str, Any] = {"spending": {"day": "2026-11-23"}}
        self.show()

    @rule(step=st.sampled_from([0.0, 0.3, 1.0, 2.5, 40.0, 299.0, 400.0]))
    def time_goes_by(self, step: float) -> None:
        self.now += step
        self.show()

    @rule(count=st.integers(1, 40), size=st.integers(0, 1500), machine=st.booleans())
    def some_come(self, count: int, size: int, machine: bool) -> None:
        for _ in range(count):
            self.number += 1
            name = f"x-{self.number}"
            item = {"id": name, "text": "ä" * size, "used": None, "finished": None, "at": self.now}
            (self.machines if machine else self.runs)[name] = item
        self.show()

    @rule(data=st.data(), machine=st.booleans(), value=st.one_of(st.none(), st.integers(0, 9)))
    def some_change(self, data: st.DataObject, machine: bool, value: int | None) -> None:
        items = self.machines if machine else self.runs
        for name in data.draw(
            st.lists(st.sampled_from(sorted(items)), max_size=9) if items else st.just([])
        ):
            items[name] = {**items[name], "used": value}
        self.show()

    @rule(machine=st.booleans())
    def the_newest_use_more(self, machine: bool) -> None:
        items = self.machines if machine else self.runs
        for name in list(items)[-3:]:
            items[name] = {**items[name], "used": (items[name]["used"] or 0) + 1}
        self.show()

    @rule(data=st.data())
    def some_end(self, data: st.DataObject) -> None:
        if self.runs:
            for name in data.draw(st.lists(st.sampled_from(sorted(self.runs)), max_size=9)):
                self.runs[name] = {**self.runs[name], "finished": self.now}
        self.show()

    @rule(data=st.data(), machine=st.booleans())
    def some_go_and_come_back_first(self, data: st.DataObject, machine: bool) -> None:
        items = self.machines if machine else self.runs
        if items:
            for name in data.draw(
                st.lists(st.sampled_from(sorted(items)), max_size=30, unique=True)
            ):
                item = items.pop(name)
                if item["used"]:
                    items[name] = item
        self.show()

    @rule(usd=st.one_of(st.none(), st.integers(0, 3)))
    def a_run_is_paid(self, usd: int | None) -> None:
        self.spending = {"spending": {"day": "2026-11-23", "notebooks": [{"usd": usd}]}}
        self.show()

    @rule(which=st.integers(0, 1))
    def a_panel_looks(self, which: int) -> None:
        panel = self.panels[which]
        answer = self.picture.answer(panel.cursor)
        assert len(answer) <= MAX_BYTES
        panel.apply(answer)
        fresh = Panel()
        fresh.apply(self.picture.answer("0"))
        assert panel.shown() == fresh.shown()
        assert panel.cursor == fresh.cursor
        second = max(panel.fine_since, fresh.fine_since)
        assert panel.series(second) == fresh.series(second)

    @invariant()
    def a_new_panel_gets_all_that_fits(self) -> None:
        answer = self.picture.answer("0")
        assert len(answer) <= MAX_BYTES
        fresh = Panel()
        fresh.apply(answer)
        assert (fresh.machines, fresh.runs) == self.shown

    def show(self) -> None:
        newest_first = list(reversed(self.machines.values())), list(reversed(self.runs.values()))
        machines, runs = fitting(*newest_first)
        self.shown = {m["id"]: m for m in machines}, {r["id"]: r for r in runs}
        sampled = [run["id"] for run in runs if not run["finished"]]
        second = max(int(self.now) - 1, self.picture.rings.second)
        reads = {}
        for number, name in enumerate([*self.machines, *sampled]):
            points = [
                p
                for p in _points(self.now, number)
                if p[0] > self.machines.get(name, self.runs.get(name))["at"]
            ]
            reads[name] = lambda since, points=points: [[p for p in points if p[0] > since]]
        self.picture.rings.advance(second, reads, list(self.machines))
        facts = {"cost": {}, "totals": {"machines": len(self.machines)}, "omitted": {}}
        self.picture.show(Scene(self.now, machines, runs, facts, sampled, self.spending))


@pytest.mark.slow
def test_panels_never_differ_from_the_picture() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    limits = settings(
        max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=checks
    )
    run_state_machine_as_test(_Pool, settings=limits)


@given(item=_items)
def test_an_item_is_never_longer_than_its_weight(item: dict[str, Any]) -> None:
    text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
    assert len(text.encode("utf-8", "backslashreplace")) <= weight(item)


@given(item=_items, other=_numbers)
def test_numbers_do_not_change_the_weight(item: dict[str, Any], other: float | None) -> None:
    assert weight({**item, "finished": other}) == weight(item)


def _item(ident: str, **fields: Any) -> dict[str, Any]:
    return {"id": ident, "finished": None, "used": 0, **fields}


def _shown(picture: Picture, *runs: dict[str, Any], machines: tuple[Any, ...] = ()) -> None:
    picture.show(Scene(1.0, machines, runs, {"cost": {}, "totals": {}, "omitted": {}}))


def test_only_what_changed_is_told() -> None:
    picture, panel = Picture(), Panel()
    _shown(picture, _item("a", name="x"), _item("b", name="y"))
    panel.apply(picture.answer("0"))
    _shown(picture, _item("a", name="x", used=1), _item("b", name="y"))
    told = panel.apply(picture.answer(panel.cursor))
    assert told["runs"] == [{"id": "a", "used": 1}]
    assert not told["resync"]
    _shown(picture, _item("a", name="x", used=2), _item("b", name="y"))
    told = panel.apply(picture.answer(panel.cursor))
    assert told["runs"] == [{"id": "a", "used": 2}]
    told = panel.apply(picture.answer(panel.cursor))
    assert (told["runs"], told["machines"]) == ([], [])


def test_what_changes_seldom_is_told_when_it_has_changed() -> None:
    picture, panel = Picture(), Panel()
    facts: dict[str, Any] = {"cost": {}, "totals": {}, "omitted": {}}
    for usd, told in ((0, True), (0, False), (None, True), (None, False)):
        picture.show(Scene(1.0, (), (), facts, seldom={"spending": {"usd": usd}}))
        assert ("spending" in panel.apply(picture.answer(panel.cursor))) is told
        assert panel.spending == {"usd": usd}
    assert not panel.apply(picture.answer(panel.cursor))["resync"]


def test_who_left_is_told_and_may_come_back() -> None:
    picture, panel = Picture(), Panel()
    _shown(picture, _item("a", name="x"))
    panel.apply(picture.answer("0"))
    _shown(picture)
    assert json.loads(picture.answer(panel.cursor))["gone"]["runs"] == ["a"]
    _shown(picture, _item("a", name="z"))
    told = panel.apply(picture.answer(panel.cursor))
    assert told["gone"]["runs"] == []
    assert told["runs"] == [_item("a", name="z")]


@pytest.mark.parametrize(
    "cursor", ["0", "e", "e-1", "f-1-0", "e-99-0", "e-1-99", "e--", "e-x-0", "e-1-0-0", "e-²-0"]
)
def test_a_cursor_that_says_nothing_here_gets_everything(cursor: str) -> None:
    picture = Picture("e")
    _shown(picture, _item("a"))
    told = json.loads(picture.answer(cursor))
    assert told["resync"]
    assert told["runs"] == [_item("a")]


def test_who_was_away_for_too_many_changes_gets_everything() -> None:
    picture, panel, late = Picture(), Panel(), Panel()
    _shown(picture, _item("first"))
    panel.apply(picture.answer("0"))
    late.apply(picture.answer("0"))
    for number in range(1200):
        _shown(picture, _item(f"r-{number}"))
        assert not panel.apply(picture.answer(panel.cursor))["resync"]
    assert late.apply(picture.answer(late.cursor))["resync"]
    assert list(late.runs) == ["r-1199"] == list(panel.runs)


def test_changes_that_take_more_room_than_the_picture_become_a_resync() -> None:
    picture, panel = Picture(), Panel()
    names = [f"m-{number}" for number in range(40)]
    machines = tuple(_item(name) for name in names)

    def go_to(now: int) -> None:
        points = [(float(second), 1.25, 10.0**10) for second in range(now - 300, now)]
        reads = dict.fromkeys(names, lambda since: [[p for p in points if p[0] > since]])
        picture.rings.advance(now - 1, reads, names)
        _shown(picture, machines=machines)

    go_to(_START)
    assert panel.apply(picture.answer("0"))["samples"]["step"] > 1
    go_to(_START + 10)
    assert not panel.apply(picture.answer(panel.cursor))["resync"]
    go_to(_START + 250)
    assert len(picture.answer(panel.cursor)) <= MAX_BYTES
    assert panel.apply(picture.answer(panel.cursor))["resync"]


def test_what_comes_first_is_shown_and_machines_leave_room_for_runs() -> None:
    machines = [_item(f"m-{n}", text="x" * 200) for n in range(500)]
    runs = [_item(f"r-{n}", text="x" * 200) for n in range(5000)]
    shown_machines, shown_runs = fitting(machines, runs)
    assert list(shown_machines) == machines[: len(shown_machines)]
    assert list(shown_runs) == runs[: len(shown_runs)]
    assert len(shown_machines) == pytest.approx(len(shown_runs), abs=2)
    assert len(fitting(machines[:3], runs)[1]) > 1.9 * len(shown_runs)
