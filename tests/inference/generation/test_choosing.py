"""Logits to tokens."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from inference.wire import Sampling
from tests.late import late

pytestmark = pytest.mark.slow  # torch
torch = late("torch")
choosing = late("inference.generation.choosing")


def chooser(seed: int = 1, **sampling: Any) -> Any:
    return choosing.Chooser(Sampling(100, **sampling), random.Random(seed))


def drawn(logits: list[float], count: int, **sampling: Any) -> Counter[int]:
    one = chooser(**sampling)
    return Counter(choosing.choose(torch.tensor([logits]), [one])[0].token for _ in range(count))


def test_tokens_are_drawn_as_often_as_the_softmax_says() -> None:
    logits = [0.0, 1.0, 2.0, -1.0]
    found = drawn(logits, 4000, temperature=1.0)
    chances = np.exp(logits) / np.exp(logits).sum()
    for token, chance in enumerate(chances):
        assert found[token] / 4000 == pytest.approx(chance, abs=0.03)


def test_a_low_temperature_sharpens_and_a_top_p_cuts() -> None:
    logits = [0.0, 1.0, 2.0, -1.0]
    assert drawn(logits, 300, temperature=0.1)[2] > 295
    assert set(drawn(logits, 500, temperature=1.0, top_p=0.8)) == {1, 2}
    assert set(drawn(logits, 50, temperature=1.0, top_p=0.01)) == {2}


def test_a_seed_draws_the_same_whatever_stands_beside() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    alone = [choosing.choose(logits[:1], [one])[0].token for one in [chooser(5)] for _ in range(10)]
    first, others = chooser(5), [chooser(8), chooser(9, temperature=0.0)]
    beside = [choosing.choose(logits, [first, *others])[0].token for _ in range(10)]
    assert alone == beside


def test_biases_and_penalties_change_the_choice_and_not_the_report() -> None:
    logits = torch.tensor([[0.0, 5.0, 4.0]])
    biased = choosing.choose(logits, [chooser(temperature=0.0, bias={1: -100.0}, logprobs=1)])[0]
    assert biased.token == 2 and [token for token, _ in biased.top] == [1]
    assert biased.logprob == pytest.approx(float(torch.log_softmax(logits, -1)[0, 2]))
    repeated = chooser(temperature=0.0, frequency_penalty=0.6)
    assert [choosing.choose(logits, [repeated])[0].token for _ in range(4)] == [1, 1, 2, 1]


def test_what_is_forbidden_is_never_chosen() -> None:
    one = chooser(temperature=2.0)
    one.allowed = np.array([False, True, False, True])
    logits = torch.tensor([[9.0, 0.0, 9.0, 0.0]])
    assert {choosing.choose(logits, [one])[0].token for _ in range(50)} == {1, 3}


def test_a_number_next_to_one_never_lands_on_a_token_without_a_chance() -> None:
    class Highest(random.Random):
        def random(self) -> float:
            return 1 - 2**-53

    one = choosing.Chooser(Sampling(1), Highest())
    one.allowed = np.arange(5000) < 100
    logits = torch.randn(1, 5000, generator=torch.Generator().manual_seed(1))
    assert choosing.choose(logits, [one])[0].token < 100


def test_a_row_that_is_not_finite_gets_no_token_and_the_others_do() -> None:
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 1.0], [3.0, 1.0]])
    found = choosing.choose(logits, [chooser(temperature=0.0) for _ in range(3)])
    assert [one and one.token for one in found] == [1, None, 0]
