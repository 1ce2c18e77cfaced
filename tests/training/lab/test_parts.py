"""The small parts: schedule, guard, temperature, floor, events, errors."""

import errno
import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.late import late
from training.lab.errors import BadData, Diverged, OutOfMemory, translated
from training.lab.events import Emitter

torch = late("torch")
baseline, calibration = late("training.lab.baseline"), late("training.lab.calibration")
loop, optimise = late("training.lab.loop"), late("training.lab.optimise")

pytestmark = pytest.mark.slow  # loads torch


def _optimiser(schedule: str = "linear", steps: int = 100) -> Any:
    layer = torch.nn.Linear(2, 2)
    return optimise.Optimiser(
        dict(layer.named_parameters()),
        learning_rate=1.0,
        weight_decay=0.1,
        total_steps=steps,
        warmup=0.1,
        schedule=schedule,
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_warms_up_then_falls_to_nothing(schedule: str) -> None:
    optimiser = _optimiser(schedule)
    rates = [optimiser.rate(step) for step in range(101)]
    assert rates[:10] == sorted(rates[:10]) and rates[9] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert max(rates) == 1.0


def test_a_gradient_that_is_not_a_number_never_reaches_the_weights() -> None:
    optimiser = _optimiser()
    before = {name: p.detach().clone() for name, p in optimiser.parameters.items()}
    loss = sum(p.sum() for p in optimiser.parameters.values()) * float("inf")
    loss.backward()
    with pytest.raises(Diverged, match="learning rate"):
        optimiser.update(0)
    assert all(torch.equal(p, before[name]) for name, p in optimiser.parameters.items())


def test_the_guard_stops_nonsense_but_not_a_single_bad_batch() -> None:
    guard = optimise.Guard(classes=10)
    for loss in [2.3, 90.0, 2.0] * 5:
        guard.check(loss, 0)
    with pytest.raises(Diverged, match="not a number"):
        guard.check(math.nan, 0)
    with pytest.raises(Diverged, match="far above"):
        for _ in range(5):
            guard.check(90.0, 0)


def test_the_temperature_makes_loud_logits_honest() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 4000)
    honest = rng.normal(size=(4000, 4))
    honest[np.arange(4000), truth] += 1.5
    # logits whose softmax is calibrated by construction: draw the truth from it
    truth = np.array([rng.choice(4, p=p) for p in calibration.softmax(honest)])
    assert calibration.fit_temperature(honest, truth) == pytest.approx(1.0, abs=0.08)
    assert calibration.fit_temperature(honest * 3, truth) == pytest.approx(3.0, abs=0.25)
    assert calibration.log_loss(honest * 3, truth, 3.0) < calibration.log_loss(honest * 3, truth)


def test_the_temperature_stays_sane_without_evidence() -> None:
    assert calibration.fit_temperature(np.zeros((1, 3)), np.array([-1])) == 1.0
    assert 0.19 < calibration.fit_temperature(np.array([[9.0, 0.0]]), np.array([0])) < 5.01


@pytest.mark.parametrize(("rows", "low", "high"), [(9, 0.85, 0.93), (900, 0.99, 0.9995)])
def test_a_handful_of_right_answers_makes_nobody_certain(rows: int, low: float, high: float) -> None:
    truth = np.arange(rows) % 3
    logits = np.random.default_rng(1).normal(size=(rows, 3))
    logits[np.arange(rows), truth] += 9.0
    sure = calibration.softmax(logits, calibration.fit_temperature(logits, truth)).max(axis=1)
    assert low < sure.mean() < high


def test_the_floor_learns_words() -> None:
    texts = ["refund my money", "money back", "reset password", "password lost"] * 5
    floor = baseline.fit_floor(texts, np.array([0, 0, 1, 1] * 5), ["money please", "new password"], seed=1)
    assert floor.predicted.tolist() == [0, 1]


def test_the_floor_answers_the_commonest_label_when_there_is_nothing_to_learn_from() -> None:
    floor = baseline.fit_floor([" ", " ", "\n"], np.array([0, 1, 1]), ["x"], seed=1)
    assert floor.predicted.tolist() == [1]


def test_balanced_weights_favour_rare_labels_within_bounds() -> None:
    weights = loop.balanced_weights(np.array([0] * 990 + [1] * 10), 3)
    assert weights[1] > 1 > weights[0]
    assert weights.max() <= 10


def test_events_are_strict_json_lines() -> None:
    out = io.StringIO()
    emit = Emitter(out)
    emit.phase("loading")
    emit("step", loss=math.nan, nested={"x": [math.inf, 1.0]})
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines == [
        {"event": "phase", "phase": "loading"},
        {"event": "step", "loss": None, "nested": {"x": [None, 1.0]}},
    ]
    with pytest.raises(ValueError, match="unknown phase"):
        emit.phase("dreaming")


def test_a_closed_pipe_asks_for_a_stop() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    emit = Emitter(Closed())
    emit("step")
    assert emit.broken
    emit("step")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError,
        lambda: RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you…"
        ),
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_every_way_of_running_out_of_memory_has_one_name(error: Callable[[], Exception]) -> None:
    known = translated(error(), advice="Lower the batch size.")
    assert isinstance(known, OutOfMemory)
    assert "Lower the batch size" in str(known)
    assert known.exit_code == 4


def test_a_full_disk_is_told_from_every_other_fault_of_files() -> None:
    known = translated(OSError(errno.ENOSPC, "No space left on device"), advice="")
    assert known is not None and (known.code, known.exit_code) == ("scratch", 5)
    assert translated(OSError(errno.EACCES, "Permission denied"), advice="") is None


def test_other_faults_stay_the_platforms() -> None:
    assert translated(RuntimeError("shape mismatch"), advice="") is None
    assert translated(BadData("x"), advice="") is not None
