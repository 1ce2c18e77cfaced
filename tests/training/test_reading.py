"""What a run's events say of where it stands: no time left is told before enough steps were measured."""

import pytest

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
