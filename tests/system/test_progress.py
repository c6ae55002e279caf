"""Rates as text, and messages that reach whoever listens to the `framevit` logger."""

from __future__ import annotations

import pytest

from frame_vit.system.progress import Once, Tick, log, silent, speed


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1234.6, "1,235 pictures/s"), (10, "10 pictures/s"), (9.87, "9.9 pictures/s"), (0.0123, "0.012 pictures/s")],
)
def test_a_rate_has_no_digits_that_mean_nothing(rate: float, text: str) -> None:
    assert speed(rate) == text


def test_silence_is_a_tick_that_takes_every_call() -> None:
    tick: Tick = silent
    assert tick("reading", 1, 2, "note") is None  # type: ignore[func-returns-value]


def test_messages_go_through_the_framevit_logger(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("%d rows", 3)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("framevit", "3 rows")]


def test_a_warning_that_holds_for_many_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    once = Once()
    for message in ("several pictures", "extension", "several pictures"):
        once(message)
    assert [record.getMessage() for record in caplog.records] == ["several pictures", "extension"]
