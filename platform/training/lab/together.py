"""One forward pass for several LoRA runs over one frozen base: each run's logits, as if it had been alone.

Every frozen product is made once, over the tokens of all runs. What is a run's own stays its own: adapters on its rows,
attention within its batch, dropout from its random state, pooling, head. A row of a product depends on no other row,
in both directions, so a run whose numbers are not numbers spoils nobody else's.

There is no padding between runs: the encoder works on flattened tokens. Shapes: J runs, run j with B_j texts of L_j
tokens, T_j = B_j * L_j; T = the sum of all T_j; H hidden size, C_j classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.lab.data import Rows
from training.lab.learners import EncoderLearner
from training.lab.lora import LoraLinear
from training.lab.model import Encoder, Layer, additive, mean
from training.lab.randomness import Randomness


@dataclass(frozen=True, slots=True)
class Part:
    """What one run wants: logits of these training rows, drawing from its own randomness."""

    learner: EncoderLearner
    rows: Rows
    random: Randomness


class _Seat:
    """One run during a pass: its encoder, its inputs, and which of the tokens are its own."""

    def __init__(self, part: Part) -> None:
        part.learner.model.train()
        encoder = part.learner.model.encoder
        if not isinstance(encoder, Encoder):
            raise TypeError("only the lab's own encoder trains several runs at once")
        self.encoder, self.random = encoder, part.random
        self.ids, self.mask = part.learner.inputs("train", part.rows)
        self.bias = additive(self.mask)
        self.layers = encoder.stack()
        self.answer = part.learner.model.answer

    def embed(self) -> Tensor:
        """What its first layer reads, [T_j, H]."""
        with self.random:
            return self.encoder.embed(self.ids)

    def dropped(self, x: Tensor) -> Tensor:
        """Its rows [T_j, H] after dropout, drawn as when it is alone."""
        with self.random:
            return nn.functional.dropout(x, self.encoder.shape.dropout, training=True)

    def logits(self, x: Tensor) -> Tensor:
        """Its rows of the last layer [T_j, H] -> [B_j, C_j]."""
        return self.answer(mean(x.view(*self.ids.shape, -1), self.mask))


def logits_of(parts: Sequence[Part]) -> list[Tensor]:
    """The logits [B_j, C_j] of each run, ready for one backward pass over all their losses.

    All learners must have the same base and place. Raises what any of them would raise alone.
    """
    place = parts[0].learner.place
    with place.autocast():
        seats = [_Seat(part) for part in parts]
        x = torch.cat([seat.embed() for seat in seats])
        for layers in zip(*(seat.layers for seat in seats), strict=True):
            x = _layer(layers, seats, x)
        return [seat.logits(own) for seat, own in zip(seats, _split(x, seats), strict=True)]


def share_frozen(learner: EncoderLearner, first: EncoderLearner) -> None:
    """Let a learner read the frozen weights of another with the same base, so that they are in memory once."""
    ours, theirs = (dict(one.model.encoder.named_parameters()) for one in (learner, first))  # type: ignore[attr-defined]
    for name, parameter in ours.items():
        if not parameter.requires_grad:
            parameter.data = theirs[name].data


def _layer(layers: Sequence[Layer], seats: Sequence[_Seat], x: Tensor) -> Tensor:
    """`Layer.forward` for all runs at once; `layers` holds the same layer of each run. x [T, H] -> [T, H]."""
    shared = layers[0]
    qkv = _split(_linear([layer.qkv for layer in layers], seats, x), seats)
    mixed = torch.cat(
        [layer.attend(own, seat.bias, len(seat.ids)) for layer, own, seat in zip(layers, qkv, seats, strict=True)]
    )
    mixed = _linear([layer.attention_output for layer in layers], seats, mixed)
    x = shared.attention_norm(x + _dropout(mixed, seats))
    grown = nn.functional.gelu(_linear([layer.intermediate for layer in layers], seats, x))
    return shared.output_norm(x + _dropout(_linear([layer.output for layer in layers], seats, grown), seats))


def _linear(modules: Sequence[nn.Module], seats: Sequence[_Seat], x: Tensor) -> Tensor:
    """The frozen product over all tokens, and to each run's rows what its adapters add. x [T, in] -> [T, out]."""
    adapters = [module for module in modules if isinstance(module, LoraLinear)]
    # The product first, as in `LoraLinear`: so the gradients of x are added up in the same order, which is exact.
    product = adapters[0].base(x)
    own = zip(adapters, _split(x, seats), strict=True)
    return product + torch.cat([adapter.delta(rows) for adapter, rows in own])


def _dropout(x: Tensor, seats: Sequence[_Seat]) -> Tensor:
    return torch.cat([seat.dropped(own) for seat, own in zip(seats, _split(x, seats), strict=True)])


def _split(x: Tensor, seats: Sequence[_Seat]) -> tuple[Tensor, ...]:
    """[T, …] -> [T_j, …] of each run, without a copy."""
    return x.split([seat.ids.numel() for seat in seats])
