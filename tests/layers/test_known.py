"""The layers besides this computer, as several threads of a pool use them."""

from __future__ import annotations

import threading
import time

import pytest

from jupyter_compute.layers.known import others


def test_offers_can_be_asked_for_by_two_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    original, starting, pauses = threading.Thread.start, threading.Event(), iter([0.1, 0.2])

    def slow(thread: threading.Thread) -> None:
        starting.set()
        time.sleep(next(pauses))  # meanwhile the other one asks, too
        original(thread)

    failed: list[Exception] = []
    layer = others()["ec2"]

    def ask() -> None:
        try:
            layer.offers()
        except Exception as error:  # noqa: BLE001 - whatever it is
            failed.append(error)

    first, second = threading.Thread(target=ask), threading.Thread(target=ask)
    monkeypatch.setattr(threading.Thread, "start", slow)
    original(first)
    assert starting.wait(10)
    original(second)
    first.join(20)
    second.join(20)
    assert failed == []
