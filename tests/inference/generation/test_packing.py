"""Laid out weights give the numbers that plain ones give."""

from __future__ import annotations

from typing import Any

import pytest

from tests.late import late

pytestmark = pytest.mark.slow  # torch
torch, packing = late("torch"), late("inference.generation.packing")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_laid_out_layer_says_what_the_plain_one_says(precision: str, bias: bool) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(72, 200, bias=bias).to(getattr(torch, precision)).requires_grad_(False)
    packed = packing.Packed(plain)
    for rows in (1, 2, 7, 32, 65):
        x = torch.randn(1, rows, 72).to(getattr(torch, precision))
        found, wanted = packed(x), plain(x)
        assert found.shape == (1, rows, 200) and found.dtype == wanted.dtype
        assert torch.allclose(
            found, wanted, rtol=1e-2 if bias else 1e-5, atol=1e-2 if precision == "bfloat16" else 1e-5
        )


@pytest.mark.parametrize(
    "broken",
    [lambda weight: weight * 2, lambda weight: 1 / 0, lambda weight: weight.nothing],
    ids=["other numbers", "other errors", "no such operator"],
)
def test_weights_stay_as_they_are_where_they_cannot_be_laid_out(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    weights = [torch.randn(64, 32) for _ in range(3)]
    lay_out = packing.laid_out

    def fails(weight: Any) -> Any:
        try:
            return lay_out(broken(weight))
        except ZeroDivisionError:
            raise RuntimeError("could not create a primitive") from None

    monkeypatch.setattr("inference.generation.packing.laid_out", fails)
    assert packing.pays(weights) is False


def test_the_faster_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [torch.randn(64, 32) for _ in range(3)]
    for gain, wanted in ((2.0, True), (1.0, False), (0.5, False)):
        monkeypatch.setattr("inference.generation.packing._gain", lambda *_, gain=gain: gain)
        assert packing.pays(weights) is wanted
    assert packing.pays([]) is False
