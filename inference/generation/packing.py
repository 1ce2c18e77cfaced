"""Weights of linear layers, laid out once in the order in which the processor multiplies with them.

In a product with few rows most of the time goes into reading weights. oneDNN reads its own blocks of them in a stream,
and a plain matrix in jumps; torch gives it its blocks in compiled graphs only, through the two operators used here.
In bf16 the sums were the same to the last bit. What it saves depends on processor, precision and shapes, so a base's
own weights are tried before any are laid out.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

log = logging.getLogger(__name__)

ROWS = (1, 8, 32)
"""Of a product: so many texts write at once."""
LAID_FOR = 32
"""Rows that oneDNN is told to expect."""
SAMPLE_BYTES = 96 << 20
"""Of weights in the trial, so that they have to be read from memory as in a step."""
LOOKS = 3
GAIN = 1.05
"""How much faster it has to be: the blocks of a tied embedding are a second copy."""


class Packed(nn.Module):
    """A linear layer whose weights lie so. x [..., in] -> [..., out]."""

    def __init__(self, module: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = module.in_features, module.out_features
        self.bias, self._blocks = module.bias, laid_out(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return multiply(x, self._blocks, self.bias)


def laid_out(weight: Tensor) -> Tensor:
    """The blocks of a matrix [out, in]; they can be multiplied with and nothing else."""
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), LAID_FOR)
    return found


def multiply(x: Tensor, blocks: Tensor, bias: Tensor | None) -> Tensor:
    """As `F.linear` with the matrix that was laid out."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, blocks, bias, "none", [], "")
    return found


@torch.inference_mode()
def pays(weights: Sequence[Tensor]) -> bool:
    """Whether products with laid out weights are faster here, and the same."""
    sample: list[Tensor] = []
    for weight in weights:
        if sum(one.nbytes for one in sample) < SAMPLE_BYTES:
            sample.append(weight.detach())
    if not sample or sample[0].device.type != "cpu":
        return False
    try:
        blocks = [laid_out(weight) for weight in sample]
        gains = [_gain(sample, blocks, rows) for rows in ROWS]
    except (RuntimeError, NotImplementedError, AttributeError) as error:  # this build or processor has no such blocks
        log.info("weights stay as they are: %s", str(error).partition("\n")[0])
        return False
    gain = math.exp(sum(map(math.log, gains)) / len(gains))
    log.info("laid out weights: %s times as fast at %s rows", " / ".join(f"{one:.2f}" for one in gains),
             ", ".join(map(str, ROWS)))  # fmt: skip
    return gain >= GAIN


def _gain(plain: list[Tensor], blocks: list[Tensor], rows: int) -> float:
    """How many times as fast products of so many rows are; both kinds in turn, the best look of each counts."""
    generator = torch.Generator().manual_seed(rows)
    texts = {
        width: torch.randn(rows, width, generator=generator).to(plain[0].dtype)
        for width in {weight.shape[1] for weight in plain}
    }
    inputs = [texts[weight.shape[1]] for weight in plain]
    for x, weight, block in zip(inputs[:1], plain, blocks, strict=False):
        if not torch.allclose(F.linear(x, weight), multiply(x, block, None), rtol=0.02, atol=0.02):
            raise RuntimeError("they give other numbers")
    seconds = [math.inf, math.inf]
    for _ in range(LOOKS):
        seconds[0] = min(seconds[0], _seconds(F.linear, inputs, plain))
        seconds[1] = min(seconds[1], _seconds(lambda x, block: multiply(x, block, None), inputs, blocks))
    return seconds[0] / seconds[1]


def _seconds(product: Callable[[Tensor, Tensor], Tensor], inputs: list[Tensor], weights: list[Tensor]) -> float:
    began = time.perf_counter()
    for x, weight in zip(inputs, weights, strict=True):
        product(x, weight)
    return time.perf_counter() - began
