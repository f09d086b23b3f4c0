"""The layers besides this computer, as several threads of a pool use them."""

from __future__ import annotations

import threading

import pytest

from jupyter_compute.layers.known import others


def test_offers_can_be_asked_for_by_two_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both, original = threading.Event(), threading.Thread.start

    def slow(thread: threading.Thread) -> None:
        both.wait(0.3)  # until the other one asks, too
        original(thread)

    failed: list[Exception] = []
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    layer = others()["ec2"]

    def ask() -> None:
        try:
            layer.offers()
        except Exception as error:  # noqa: BLE001 - whatever it is
            failed.append(error)

    first, second = threading.Thread(target=ask), threading.Thread(target=ask)
    original(first)
    monkeypatch.setattr(threading.Thread, "start", slow)
    original(second)
    first.join(20)
    second.join(20)
    assert not [error for error in failed if isinstance(error, RuntimeError)]
