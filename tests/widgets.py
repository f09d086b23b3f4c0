"""What a front end keeps of the kernel's widgets, and what it sends when one is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"


class Widgets:
    """The open comms of a kernel.

    Parameters
    ----------
    send : callable
        Sends a message of this type and content to the kernel.
    """

    def __init__(self, send: Callable[[str, dict[str, Any]], None]) -> None:
        self._send = send
        self.states: dict[str, dict[str, Any]] = {}
        """The state of each widget, by the id of its comm."""
        self.others: dict[str, tuple[str, dict[str, Any]]] = {}
        """Target and data of the comms that are no widgets."""
        self.messages = 0
        """So many have come."""

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Take a message from the kernel in."""
        comm = content.get("comm_id", "")
        self.messages += kind.startswith("comm_")
        if kind == "comm_open" and content["target_name"] == "jupyter.widget":
            self.states[comm] = dict(content["data"]["state"])
        elif kind == "comm_open":
            self.others[comm] = content["target_name"], content["data"]
        elif kind == "comm_close":
            self.states.pop(comm, None)
            self.others.pop(comm, None)
        elif kind == "comm_msg" and content["data"].get("method") == "update":
            self.states[comm].update(content["data"]["state"])

    def find(self, **state: Any) -> str:
        """Return the newest widget with this state; ``kind`` is one of its DOM classes."""
        wanted = state.pop("kind", None)
        for comm, held in reversed(self.states.items()):
            classes = held.get("_dom_classes", ())
            same = all(held.get(name) == value for name, value in state.items())
            if same and (wanted is None or wanted in classes):
                return comm
        raise LookupError(f"no widget {wanted or ''} {state}")

    def value(self, **state: Any) -> str:
        """Return the value of such a widget, and an empty text if there is none."""
        try:
            return str(self.states[self.find(**state)]["value"])
        except LookupError:
            return ""

    def update(self, comm: str, **state: Any) -> None:
        """Change a widget as its user does."""
        self.states[comm].update(state)
        data = {"method": "update", "state": state, "buffer_paths": []}
        self._send("comm_msg", {"comm_id": comm, "data": data})

    def click(self, comm: str) -> None:
        """Press a button."""
        assert not self.states[comm]["disabled"], self.states[comm]["description"]
        data = {"method": "custom", "content": {"event": "click"}}
        self._send("comm_msg", {"comm_id": comm, "data": data})

    def answer(self, comm: str, data: dict[str, Any] | None) -> None:
        """Answer on another comm, or close it."""
        kind = "comm_close" if data is None else "comm_msg"
        self._send(kind, {"comm_id": comm, "data": data or {}})
