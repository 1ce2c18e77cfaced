"""What a run's events say of where it stands, and what is no event however it is said."""

import json
from typing import Any

import pytest

from training.worker import reading as reading_module
from training.worker.contract import LONGEST_MESSAGE, MAX_LINE, REFUSED, parse
from training.worker.reading import Reading


def told(total: int, steps: range) -> list[int | None]:
    """The seconds left after each step's event; a step takes two seconds."""
    reading, found = Reading(), []
    reading.take({"event": "phase", "phase": "training", "step": 0, "total_steps": total}, 0.0)
    for step in steps:
        reading.take({"event": "step", "step": step, "total_steps": total, "loss": 1.0}, 2.0 * step)
        found.append(reading.standing.eta_seconds)
    return found


def test_a_long_run_says_no_time_left_before_twenty_measured_steps() -> None:
    found = told(1_000, range(10, 60, 10))
    assert found[:2] == [None, None]
    assert found[2] == pytest.approx(2 * 970 + 8)


def test_a_short_run_says_it_after_a_twentieth_of_its_steps() -> None:
    assert told(40, range(1, 5)) == [None, None, 2 * 37 + 8, 2 * 36 + 8]


STEP = {"event": "step", "step": 5, "total_steps": 9, "loss": 0.5, "tokens": 7}
DONE = {"event": "done", "artefact": "/a", "trained_tokens": 1, "steps": 1}
CHECKPOINT = {"event": "checkpoint", "step": 5, "path": "/a", "manifest_sha256": "0" * 64}
LIES: list[dict[str, Any]] = [
    *(STEP | {"step": lie} for lie in (2**63, 10**4000, -1, 1.5, "5", True, None, [5])),
    *(STEP | {"tokens": lie} for lie in (2**63, -1, float("nan"))),
    *(STEP | {"total_steps": lie} for lie in (2**40, {})),
    *(STEP | {"loss": lie} for lie in (float("nan"), float("inf"), 10**400, 1e308, "0.5", True)),
    *(DONE | {"trained_tokens": lie} for lie in (2**70, -5, None)),
    DONE | {"artefact": "/a\0"},
    DONE | {"artefact": "/" * 5_000},
    CHECKPOINT | {"path": ["/a"]},
    CHECKPOINT | {"path": "/\udcff"},
    CHECKPOINT | {"manifest_sha256": "0" * 65},
    {"event": "warning", "code": "a\0b", "message": ""},
    {"event": "warning", "code": "x" * 41, "message": ""},
    {"event": "warning", "code": "x", "message": {"a": 1}},
    {"event": "phase", "phase": "training", "step": -1},
    {"event": "evaluation", "step": 1, "accuracy": float("-inf")},
    {"event": "end", "job": 0, "status": 2**31},
]


def said(event: dict[str, Any]) -> dict[str, Any] | None:
    return parse(json.dumps(event).encode())


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
def test_an_event_out_of_bounds_is_none_and_is_told_once(lie: dict[str, Any]) -> None:
    reading = Reading()
    for _ in range(3):
        event = said(lie)
        assert event is not None and event["event"] == REFUSED
        reading.take(event, 1.0)
    assert [news.code for news in reading.pending] == ["report_refused"]
    assert (reading.standing.step, reading.standing.trained_tokens, reading.done) == (0, 0, None)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b"null", b"[" * 60_000, b'{"event": 1}', b'{"event": "refund"}', b"\xff\xfe"]
)
def test_what_is_no_event_of_ours_is_not_even_read(raw: bytes) -> None:
    assert parse(raw) is None


def test_words_are_made_plain_and_short() -> None:
    event = said({"event": "warning", "code": "odd", "message": "a\0b\ud800c\nd" + "x" * (MAX_LINE // 2)})
    assert event is not None and event["message"].startswith("a b?c d") and len(event["message"]) == LONGEST_MESSAGE


def test_a_flood_fills_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_module, "MOST_NEWS", 10)
    reading = Reading()
    for _ in range(100):
        reading.take({"event": "warning", "code": "again", "message": "again"}, 1.0)
    assert [news.code for news in reading.pending] == ["trainer_again"] * 9 + ["log_full"]


def test_a_trainer_warns_in_nobody_elses_name() -> None:
    reading = Reading()
    for code in ("shared", "resumed", "succeeded", "x" * 40, "checkpoint_damaged", "restarted"):
        reading.take({"event": "warning", "code": code, "message": "-"}, 1.0)
    *foreign, damaged, restarted = [news.code for news in reading.pending]
    assert foreign == ["trainer_shared", "trainer_resumed", "trainer_succeeded", "trainer_" + "x" * 32]
    assert (damaged, restarted) == ("checkpoint_damaged", "restarted")


def test_a_time_left_that_no_column_holds_is_cut() -> None:
    reading = Reading()
    for step, moment in ((1, 0.0), (10**8, 1e17)):
        reading.take({"event": "step", "step": step, "total_steps": 10**9, "tokens": 1, "loss": None}, moment)
    assert reading.standing.eta_seconds == 10**9
