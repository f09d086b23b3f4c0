"""The dashboard of ``%compute dashboard``: machines, runs and cost, live in a cell's output.

There is one for a kernel: a new one takes the place of the one before. A thread keeps it up
to date until no front end shows it any more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets
from IPython.display import display

from ..model import ENDED
from . import figures
from .output import of_no_cell, shell
from .watch import Sight, Watch

__all__ = ["Dashboard", "show"]

_MOST_ACTIVE = 20
_MOST_ENDED = 10
_ORDER = ("running", "starting", "queued")
_BEAT_S = 5
_FALLBACK = (
    "(The dashboard of jupyter-compute, where the front end shows widgets and the kernel runs.\n"
    "Elsewhere `%compute` shows machines, runs and cost as they are.)"
)
_MOVED = "(The dashboard has moved to a cell that was run later.)"

_current: list[Dashboard] = []


def show() -> None:
    """Show the dashboard here, and no longer where it was."""
    for former in _current:
        former.close()
    _current[:] = [of_no_cell(Dashboard)]
    _current[0].display()


class Dashboard:
    """The widgets, and the watch that keeps them up to date."""

    def __init__(self) -> None:
        self.watch = Watch(self._take)
        self._lock = threading.RLock()
        self._banner, self._now = ipywidgets.HTML(), ipywidgets.HTML()
        self._ended, self._costs = ipywidgets.HTML(), ipywidgets.HTML()
        self._runs = _Rows(lambda name: _Action("Cancel", "", lambda: self._cancel(name)))
        self._machines = _Rows(lambda name: _Action("Stop", _REALLY, lambda: self._stop(name)))
        self._pool = _Action("Stop the pool", "", lambda: self._order("stop", {"force": True}))
        self._body = ipywidgets.VBox(
            [
                self._now,
                _title("Runs"),
                self._runs.box,
                self._ended,
                _title("Machines"),
                self._machines.box,
                _title("Ended today, by notebook"),
                self._costs,
            ]
        )
        self.box = ipywidgets.VBox([_wide(self._banner, self._pool.box), self._body])
        self.box.add_class("jc-dashboard")
        # Zero has front ends count who shows it.
        self.box._view_count = 0  # noqa: SLF001 - there is no other way to know
        self.box.observe(self._seen, "_view_count")
        self._handle: Any = None

    def display(self) -> None:
        """Show it in the output of the cell that runs."""
        bundle = dict(self.box._repr_mimebundle_())
        self._handle = display({**bundle, "text/plain": _FALLBACK}, raw=True, display_id=True)
        self._begin()

    def close(self) -> None:
        """Show it no more, and end its thread."""
        with self._lock:
            self._cease()
            if self.box.comm is None:
                return
            self._pool.close()
            for rows in (self._runs, self._machines):
                rows.show({}, None)
            _close(self.box)
        self._handle.update({"text/plain": _MOVED}, raw=True)

    def _begin(self) -> None:
        with self._lock:
            if not self.watch.running:
                of_no_cell(self.watch.start)
                shell().events.register("pre_run_cell", self.watch.wake)

    def _cease(self) -> None:
        with self._lock:
            if self.watch.running:
                self.watch.stop()
                shell().events.unregister("pre_run_cell", self.watch.wake)

    def _seen(self, change: Mapping[str, Any]) -> None:
        """Follow how many front ends show it; each tells when that changes."""
        if (change["new"] or 0) > 0:
            self._begin()
        else:
            self._cease()

    def _take(self, sight: Sight) -> None:
        """Show what has been seen. Only what differs is sent."""
        with self._lock:
            if self.box.comm is None:
                self._cease()
            else:
                self._put(sight)

    def _put(self, sight: Sight) -> None:
        fresh = sight.state in {"live", "empty"}
        # So that a front end can tell a pool at rest from a kernel that is busy.
        beat = f'<i hidden data-beat="{int(sight.now) // _BEAT_S}"></i>'
        self._banner.value = figures.banner(sight) + beat
        self._body.layout.display = None if sight.mirror.facts else "none"
        self._pool.allow(fresh)
        self._pool.question = _ends_all(sight)
        (self._body.remove_class if fresh else self._body.add_class)("jc-old")
        if sight.mirror.facts:
            self._fill(sight, fresh)

    def _fill(self, sight: Sight, fresh: bool) -> None:
        mirror, at = sight.mirror, sight.now
        self._now.value = figures.now(sight)
        active = sorted((r for r in mirror.runs.values() if r["state"] not in ENDED), key=_rank)
        ended = sorted((r for r in mirror.runs.values() if r["state"] in ENDED), key=_newest)
        shown, last = active[:_MOST_ACTIVE], ended[:_MOST_ENDED]
        self._runs.show(
            {run["id"]: figures.run(run, at) for run in shown}, set() if fresh else None
        )
        hidden = len(mirror.runs) - len(shown) - len(last) + mirror.facts["omitted"]["runs"]
        told = f"<div>{hidden} more runs: %compute runs lists them.</div>" if hidden else ""
        told = told if mirror.runs else "Nothing has run yet. Begin a cell with %%remote."
        self._ended.value = "".join(figures.run(run, at) for run in last) + told
        ending = {m["id"] for m in mirror.machines.values() if m["state"] in {"draining", "ending"}}
        rows = {name: figures.machine(item, at) for name, item in mirror.machines.items()}
        self._machines.show(dict(list(rows.items())[:_MOST_ACTIVE]), ending if fresh else None)
        self._costs.value = figures.costs(mirror.spending)

    def _cancel(self, run_id: str) -> None:
        self.watch.order(f"/v1/runs/{run_id}/cancel", {"action": "interrupt"})

    def _stop(self, machine_id: str) -> None:
        self.watch.order(f"/v1/machines/{machine_id}/stop", {"force": False})

    def _order(self, what: str, body: dict[str, Any]) -> None:
        self.watch.order(f"/v1/{what}", body)


_REALLY = "Really stop? It ends when the runs on it have ended."


class _Action:
    """A button; with a question, one that asks before it does anything."""

    def __init__(self, label: str, question: str, act: Callable[[], None]) -> None:
        self.question = question
        self._act = act
        self._first = _button(label)
        self._yes, self._no = _button("Stop", "danger"), _button("No")
        self._asked = ipywidgets.HTML()
        self._first.on_click(lambda _: of_no_cell(self._ask))
        self._yes.on_click(lambda _: of_no_cell(self._do))
        self._no.on_click(lambda _: of_no_cell(self._back))
        self.box = ipywidgets.HBox([self._first])

    def allow(self, allowed: bool) -> None:
        """Let the button be pressed, or not."""
        self._first.disabled = self._yes.disabled = not allowed

    def close(self) -> None:
        """Close the buttons, also those that are not shown now."""
        for widget in (self._first, self._yes, self._no, self._asked):
            _close(widget)

    def _ask(self) -> None:
        if not self.question:
            self._do()
            return
        self._asked.value = self.question
        self.box.children = [self._asked, self._yes, self._no]

    def _do(self) -> None:
        self.allow(False)
        self._back()
        self._act()

    def _back(self) -> None:
        self.box.children = [self._first]


class _Rows:
    """Lines of figures with a button each, by the id of what they show."""

    def __init__(self, action: Callable[[str], _Action]) -> None:
        self.box = ipywidgets.VBox([])
        self._action = action
        self._known: dict[str, tuple[Any, _Action, Any]] = {}

    def show(self, texts: Mapping[str, str], barred: Iterable[str] | None) -> None:
        """Show these lines and no others; None bars all buttons."""
        for name in texts.keys() - self._known.keys():
            text, action = ipywidgets.HTML(), self._action(name)
            self._known[name] = text, action, _wide(text, action.box)
        for name, text in texts.items():
            self._known[name][0].value = text
            self._known[name][1].allow(barred is not None and name not in barred)
        rows = tuple(self._known[name][2] for name in texts)
        if self.box.children != rows:
            self.box.children = rows
        for name in self._known.keys() - texts.keys():
            _, action, row = self._known.pop(name)
            action.close()
            _close(row)


def _close(widget: Any) -> None:
    """Close a widget and all that belongs to it: each is known to the front end by itself."""
    parts = (getattr(widget, "layout", None), getattr(widget, "style", None))
    for part in (*getattr(widget, "children", ()), *parts):
        if part is not None:
            _close(part)
    widget.close()


def _wide(text: Any, action: Any) -> Any:
    text.layout.flex = "1 1 auto"
    action.layout.flex = "0 0 auto"
    return ipywidgets.HBox([text, action], layout=ipywidgets.Layout(align_items="center"))


def _button(label: str, style: str = "") -> Any:
    button = ipywidgets.Button(description=label, button_style=style)
    button.layout.width = "auto"
    button.add_class(f"jc-{label.lower().replace(' ', '-')}")
    return button


def _title(text: str) -> Any:
    return ipywidgets.HTML(f'<b style="color:var(--jp-ui-font-color2,#757575)">{text}</b>')


def _ends_all(sight: Sight) -> str:
    count = sum(run["state"] not in ENDED for run in sight.mirror.runs.values())
    runs = f" {count} run{' is' if count == 1 else 's are'} cancelled." if count else ""
    return f"Stop the pool and all its machines?{runs}"


def _rank(run: Mapping[str, Any]) -> tuple[int, float]:
    return _ORDER.index(run["state"]), run["created"]


def _newest(run: Mapping[str, Any]) -> float:
    return -(run["finished"] or 0)
