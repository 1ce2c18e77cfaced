"""A config says what is wrong with it, before anything heavy is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.lab.config import config_from, read_config
from training.lab.errors import BadData
from training.lab.plan import auto_epochs, plan_for

GOOD: dict[str, Any] = {
    "task": "text-classification",
    "data": "d.parquet",
    "base": "base",
    "base_name": "tiny",
    "method": "lora",
    "output": "out",
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "qlora"}, "'method' is 'qlora'; it must be one of"),
        ({"task": "poetry"}, "'task'"),
        ({"learning_rate": float("inf")}, "'learning_rate' is inf"),
        ({"learning_rate": float("nan")}, "'learning_rate' is nan"),
        ({"learning_rate": 0}, "above 0"),
        ({"learning_rate": "fast"}, '"auto" or a number'),
        ({"batch_size": 2**63}, "'batch_size'"),
        ({"batch_size": 0}, "from 1"),
        ({"batch_size": True}, "'batch_size' is True"),
        ({"epochs": 2.5}, "'epochs' is 2.5"),
        ({"epochs": -1}, "'epochs' is -1"),
        ({"label_smoothing": 0.9}, "'label_smoothing'"),
        ({"output": ""}, "'output' must be a non-empty string"),
        ({"resume": 3}, "'resume'"),
        ({"precision": "int4"}, "'precision'"),
        ({"lr": 1}, "Unknown config field.*lr"),
    ],
)
def test_a_bad_field_is_named_with_what_is_allowed(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadData, match=words):
        config_from(GOOD | change)


def test_missing_fields_are_named() -> None:
    with pytest.raises(BadData, match=r"Missing config field.*base, base_name"):
        config_from({key: value for key, value in GOOD.items() if not key.startswith("base")})


def test_files_that_are_no_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="cannot be read"):
        read_config(tmp_path / "none.json")
    path = tmp_path / "c.json"
    for text, words in (("{", "not valid JSON"), ("[]", "one JSON object")):
        path.write_text(text)
        with pytest.raises(BadData, match=words):
            read_config(path)


def test_a_config_survives_a_round_trip(tmp_path: Path) -> None:
    config = config_from(GOOD)
    (tmp_path / "c.json").write_text(json.dumps(config.to_json()))
    assert read_config(tmp_path / "c.json") == config


def test_auto_gives_numbers_and_given_numbers_stay() -> None:
    auto = plan_for(config_from(GOOD), train_rows=15_000)
    assert (auto.epochs, auto.batch_size, auto.learning_rate) == (5, 32, 2e-3)
    given = plan_for(config_from(GOOD | {"epochs": 7, "batch_size": 5, "learning_rate": 1e-5}), train_rows=15_000)
    assert (given.epochs, given.batch_size, given.learning_rate) == (7, 5, 1e-5)


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_more_rows_never_mean_more_passes(method: str) -> None:
    passes = [auto_epochs(method, rows) for rows in (10, 100, 1_000, 10_000, 100_000, 10**7)]
    assert passes == sorted(passes, reverse=True)


def test_tiny_sets_still_have_several_steps_per_pass() -> None:
    assert plan_for(config_from(GOOD), train_rows=40).batch_size == 5


def test_wider_encoders_take_a_lower_rate_when_every_weight_moves() -> None:
    def rates(method: str) -> list[float]:
        config = config_from(GOOD | {"method": method})
        return [plan_for(config, train_rows=1500, hidden=hidden).learning_rate for hidden in (64, 384, 768, 1024)]

    assert rates("full") == pytest.approx([2e-4, 2e-4, 5e-5, 2.8125e-5])
    assert len(set(rates("lora"))) == len(set(rates("head"))) == 1
