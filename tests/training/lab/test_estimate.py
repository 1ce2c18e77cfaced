"""The estimate before the run: arithmetic that moves the right way, and agrees with the run about tokens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.lab.runs import train_here
from training.lab.estimate import DEVICES, Workload, estimate, measure, pays

WORK = Workload(
    method="full",
    rows={"train": 15_000, "validation": 3_000, "test": 4_500},
    tokens={"train": 165_000, "validation": 33_000, "test": 50_000},
    labels=150,
    matrix_parameters=10_616_832,
    max_length=128,
)


@pytest.mark.parametrize("method", ["full", "lora", "head"])
@pytest.mark.parametrize("device", sorted(DEVICES))
def test_the_low_end_is_below_the_high_end_and_both_are_positive(method: str, device: str) -> None:
    result = estimate(replace(WORK, method=method), device=device)
    assert 0 < result.seconds_low <= result.seconds_high
    assert 0 < result.tokens_low <= result.tokens_high


def test_lighter_methods_and_more_cores_take_less_time() -> None:
    full, lora, head = (estimate(replace(WORK, method=m), epochs=5).seconds_high for m in ("full", "lora", "head"))
    assert full > lora > head
    assert estimate(WORK, cores=8).seconds_high < estimate(WORK, cores=2).seconds_high


def test_without_patience_there_is_no_early_end() -> None:
    result = estimate(WORK, epochs=5, patience=0)
    assert result.tokens_low == result.tokens_high == 5 * 165_000


def test_prices_are_whole_and_rounded_up() -> None:
    low, high = estimate(WORK, epochs=5, patience=0).price(500_000_001)
    assert low == high == 412_500_001


@pytest.mark.slow
def test_the_measured_tokens_are_those_the_run_trains_on(
    settings_for: Callable[..., dict[str, Any]], topics: Path, tiny_base: Path
) -> None:
    work = measure(topics, tiny_base, method="full")
    assert work.rows == {"train": 108, "validation": 36, "test": 36}
    done = train_here(settings_for(epochs=3, patience=0))[-1]
    assert done["trained_tokens"] == estimate(work, epochs=3, patience=0).tokens_high


def test_cut_rows_are_counted_before_the_run(topics: Path, tiny_base: Path) -> None:
    assert measure(topics, tiny_base, method="full", max_length=8).cut_rows > 0
    assert measure(topics, tiny_base, method="full").cut_rows == 0


def test_sharing_a_base_pays_for_small_steps_only() -> None:
    assert pays([48, 48], "cpu") and pays([12, 400], "cpu-bf16")
    assert not pays([1024, 1024], "cpu") and not pays([64, 600], "cpu")
    assert pays([1024, 1024], "cuda") and not pays([10_000, 10_000], "cuda-bf16")
    assert not pays([48], "cpu") and not pays([48], "cuda")
