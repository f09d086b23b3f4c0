"""The form of ``%compute ask``: what to ask for, and the offer that it would get."""

from __future__ import annotations

import contextvars
import html
import threading
from typing import Any

import ipywidgets
from IPython.display import display

from ..absence import NOT_LIVE
from ..ask import format_cpu, format_memory, format_time
from ..errors import AskError, ComputeError
from . import defaults, draft, insertion, plan, session, submission
from .draft import FIELDS, Draft
from .options import Options
from .output import of_no_cell, shell
from .tables import money

__all__ = ["NAMES", "show"]

NAMES = tuple(option.name for option in FIELDS)
"""The options that the form, and its command's line, have."""

_LABELS = {"on": "layer"}
_STEPS = {
    "cpu": ("0.5", "1", "2", "4", "8", "16", "32", "64", "96", "128", "192"),
    "memory": tuple(f"{2**n}G" for n in range(11)),
}
_FIRST = {"cpu": "1", "memory": "4G"}
_AGAIN_S = 1.0
_TRIES = 20
_PATIENCE_S = 2.0
_ASKING = "asking the pool…"
_CODE = "font-family:var(--jp-code-font-family,monospace);user-select:all;white-space:pre-wrap"
_PLAIN = "white-space:normal;line-height:1.4"
_PROBLEM = f"{_PLAIN};color:var(--jp-error-color1,#c62828)"


def show(options: Options) -> None:
    """Show the form, its fields filled with the options that are given."""
    texts = {name: defaults.text(options, name) for name in NAMES}
    if not hasattr(shell(), "kernel"):
        found = _read(texts)
        print(f"{found.line}\n{_offer(found)[0]}")  # noqa: T201 - what was asked for
        shell().set_next_input(found.line)
        return
    form = of_no_cell(lambda: _Form(texts))
    bundle = dict(form.box._repr_mimebundle_())
    bundle["text/plain"] = form.fallback()
    display(bundle, raw=True)


class _Form:
    """The widgets, and what follows when one of them is used.

    Messages of front ends may be handled in several threads.
    """

    def __init__(self, texts: dict[str, str]) -> None:
        self._cell = insertion.cell_id()
        self._lock = threading.RLock()
        self._following = False
        self._asking = False
        self._newer = threading.Event()
        self._late = threading.Timer(0, self._say_late)
        self._draft = _read(texts)
        self._controls = {name: _control(name, texts[name]) for name in NAMES}
        self._sliders = {name: _slider(name, steps) for name, steps in _STEPS.items()}
        self._problems = {name: _place(f"jc-problem-{name}") for name in NAMES}
        self._offer = _place("jc-offer")
        self._line = _place("jc-line")
        self._said = _place("jc-said")
        self._keep = ipywidgets.Button(
            description="Use as default", tooltip="for all cells of this notebook that do not say"
        )
        self._insert = ipywidgets.Button(
            description="Insert", button_style="primary", tooltip="put the line into a new cell"
        )
        for name, control in self._controls.items():
            control.observe(lambda _, name=name: self._changed(name), "value")
        for name, slider in self._sliders.items():
            slider.observe(lambda _, name=name: self._moved(name), "value")
        self._keep.on_click(lambda _: of_no_cell(self._use_as_default))
        self._insert.on_click(lambda _: of_no_cell(self._put))
        rows = [self._row(name) for name in NAMES]
        buttons = ipywidgets.HBox([self._keep, self._insert])
        self.box = ipywidgets.VBox([*rows, self._offer, self._line, buttons, self._said])
        self.box.add_class("jc-ask")
        for name in self._sliders:
            self._follow(name)
        self._refresh()

    def fallback(self) -> str:
        """Return what is shown where there are no widgets."""
        line = self._draft.line
        options = line.removeprefix("%%remote").strip()
        return (
            f"{line}\n"
            "(A form to choose the options, where the front end shows widgets. Elsewhere write this\n"
            "line at the top of a cell; for all cells of the notebook, run "
            f"%compute defaults {options or '--cpu 2'};\n"
            f"%compute plan {options}".rstrip()
            + " says where it would run and what it would cost.)"
        )

    def _row(self, name: str) -> Any:
        slider = [self._sliders[name]] if name in self._sliders else []
        control, layout = self._controls[name], ipywidgets.Layout(flex_flow="row wrap")
        return ipywidgets.HBox([control, *slider, self._problems[name]], layout=layout)

    def _changed(self, name: str) -> None:
        with self._lock:
            self._said.value = ""
            self._follow(name)
            self._refresh()

    def _moved(self, name: str) -> None:
        with self._lock:
            if not self._following:
                self._controls[name].value = self._sliders[name].value

    def _follow(self, name: str) -> None:
        """Move the slider to what the text says, if it can say that."""
        slider = self._sliders.get(name)
        if slider is None:
            return
        text = self._controls[name].value.strip() or defaults.text(_usual(), name) or _FIRST[name]
        step = text if text in slider.options else text.removesuffix("B")
        if step in slider.options:
            self._following = True
            slider.value = step
            self._following = False

    def _refresh(self) -> None:
        """Show what the texts now stand for; the offer comes as soon as the pool answers."""
        with self._lock:
            found = self._draft = _read({n: c.value for n, c in self._controls.items()})
            usual = _usual()
            for option in FIELDS:
                problem = found.problems.get(option.name, "")
                self._problems[option.name].value = _markup(problem, _PROBLEM, "alert")
                set_already = defaults.text(usual, option.name)
                if option.name != "on":
                    shown = set_already or option.default.partition(",")[0]
                    self._controls[option.name].placeholder = shown
            self._line.value = f'<code style="{_CODE}">{html.escape(found.line)}</code>'
            self._enable(not found.problems)
            if found.problems:
                self._offer.value = ""
                return
            self._begin_to_ask()

    def _ask(self) -> None:
        """Show the offer for the newest draft, not in the way of anything else."""
        tries = 0
        while True:
            self._newer.clear()
            asked = self._draft
            told, refused, known = _offer(asked) if not asked.problems else ("", True, True)
            with self._lock:
                if asked is self._draft:
                    self._offer.value = _markup(told, _PROBLEM if refused else _PLAIN)
                    self._enable(not refused)
                    tries += 1
                    if known or tries == _TRIES:
                        self._asking = False
                        return
            # While the first machine of a layer starts, nothing tells how long that takes.
            self._newer.wait(_AGAIN_S)

    def _begin_to_ask(self) -> None:
        self._offer.value = _markup(_ASKING)
        self._late.cancel()
        self._late = threading.Timer(_PATIENCE_S, self._say_late)
        self._late.daemon = True
        self._late.start()
        self._newer.set()
        if not self._asking:
            self._asking = True
            call = contextvars.copy_context().run
            threading.Thread(target=call, args=(self._ask,), daemon=True).start()

    def _say_late(self) -> None:
        with self._lock:
            if self._offer.value == _markup(_ASKING):
                self._offer.value = _markup(": ".join([_ASKING, *NOT_LIVE["silent"]]))

    def _enable(self, fine: bool) -> None:
        self._keep.disabled = self._insert.disabled = not fine

    def _use_as_default(self) -> None:
        with self._lock:
            if self._keep.disabled:
                return
            defaults.add(self._draft.options)
            self._refresh()
            now = defaults.written(session.defaults())
            self._said.value = _markup(f"defaults of this notebook: {now or 'none are set'}")

    def _put(self) -> None:
        with self._lock:
            if not self._insert.disabled:
                insertion.insert(f"{self._draft.line}\n", self._cell, self._tell_inserted)

    def _tell_inserted(self, done: bool) -> None:
        told = "is in a new cell"
        if not done:
            told = "comes below the next cell that you run; or copy it from here"
        self._said.value = _markup(f"the line {told}")


def _control(name: str, text: str) -> Any:
    option = next(option for option in FIELDS if option.name == name)
    about = {
        "description": _LABELS.get(name, name),
        "tooltip": f"{option.meaning} (default: {option.default})",
    }
    if name == "on":
        names = [("as configured", ""), *((layer, layer) for layer in submission.layers())]
        return ipywidgets.Dropdown(options=names, value=text, **about)
    return ipywidgets.Text(value=text, **about)


def _slider(name: str, steps: tuple[str, ...]) -> Any:
    layout = ipywidgets.Layout(width="160px")
    tooltip = f"{name} in steps"
    return ipywidgets.SelectionSlider(
        options=steps, value=_FIRST[name], readout=False, tooltip=tooltip, layout=layout
    )


def _place(kind: str) -> Any:
    place = ipywidgets.HTML()
    place.add_class(kind)
    return place


def _markup(text: str, style: str = _PLAIN, role: str = "status") -> str:
    lines = html.escape(text).replace("\n", "<br>")
    return f'<div role="{role}" style="{style}">{lines}</div>' if text else ""


def _usual() -> Options:
    """Return what cells have that do not say: as the notebook and the configuration set it."""
    return session.resolve(Options())


def _read(texts: dict[str, str]) -> Draft:
    usual = _usual()
    return draft.read(texts, usual, session.ask_of(usual)["layer"])


def _offer(found: Draft) -> tuple[str, bool, bool]:
    """Return what the ask would get, whether it is refused, and whether all of it is known."""
    try:
        answer = session.client().plan(session.ask_of(session.resolve(found.options)))
    except AskError as refusal:
        offers = ", ".join(map(_describe, refusal.nearest))
        return f"{refusal}\nnearest: {offers}" if offers else str(refusal), True, True
    except ComputeError as error:
        return str(error), False, True
    took = answer["start_s"]
    start = "a machine is ready" if took == 0 else f"ready in about {format_time(took or 0)}"
    start = "its start-up time is not known yet" if took is None else start
    told = "\n".join([f"{plan.where(answer)}; {start}", *plan.costs(answer), *answer["notes"]])
    return told, False, took is not None


def _describe(offer: dict[str, Any]) -> str:
    size = f"{format_cpu(offer['cpu'])} cpu {format_memory(offer['memory'])}"
    return f"{offer['type']}, {size}, {money(offer['usd_per_hour'])}/h"
