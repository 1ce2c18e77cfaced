"""Logits to tokens.

Rows that only want the likeliest token share one argmax; the others are drawn by inverting the distribution at a random
number of their own, so that a seed means the same whatever else is in the batch (up to the arithmetic of the batch).

Order, as the OpenAI wire has it: biases and penalties on the logits, what a grammar forbids, temperature, top-p. The
log-probabilities that are reported are the model's own, before any of these.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.wire import Sampling

COLD = 1e-4  # temperatures below are the likeliest token
NUCLEUS = 256  # tokens that are looked at for a top-p before the whole vocabulary is


@dataclass(slots=True, eq=False)
class Chooser:
    """How one choice is written, and what it has seen of itself."""

    sampling: Sampling
    dice: random.Random
    allowed: NDArray[np.bool_] | None = None  # [V], where a grammar says what may follow
    counts: Counter[int] = field(default_factory=Counter)
    bias: tuple[Tensor, Tensor] | None = None  # tokens and what is added to them; made at the first use

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.sampling.temperature < COLD

    @property
    def plain(self) -> bool:
        """Whether the model's logits are taken as they are."""
        sampling = self.sampling
        return not (
            sampling.bias or sampling.frequency_penalty or sampling.presence_penalty or self.allowed is not None
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token; where asked for, its log-probability and (token, log-probability) of the likeliest."""

    token: int
    logprob: float | None = None
    top: list[tuple[int, float]] = field(default_factory=list)


def choose(logits: Tensor, choosers: list[Chooser]) -> list[Chosen | None]:
    """logits [N, V] in fp32 -> a token for each row, which its chooser remembers; None for a row that is not finite."""
    sound: list[bool] = torch.isfinite(logits).all(dim=-1).tolist()
    if not all(sound):
        rows = [row for row, good in enumerate(sound) if good]
        found = iter(choose(logits[rows], [choosers[row] for row in rows]) if rows else [])
        return [next(found) if good else None for good in sound]
    changed = logits
    for row, chooser in enumerate(choosers):
        if not chooser.plain:
            changed = logits.clone() if changed is logits else changed
            _change(changed[row], chooser)
    tokens: list[int] = changed.argmax(dim=-1).tolist()
    drawn = [row for row, chooser in enumerate(choosers) if not chooser.greedy]
    if drawn:
        for row, token in zip(drawn, _draw(changed[drawn], [choosers[row] for row in drawn]), strict=True):
            tokens[row] = token
    reported = [row for row, chooser in enumerate(choosers) if chooser.sampling.logprobs is not None]
    reports = dict(zip(reported, _report(logits, reported, tokens, choosers), strict=True))
    for chooser, token in zip(choosers, tokens, strict=True):
        if chooser.sampling.frequency_penalty or chooser.sampling.presence_penalty:
            chooser.counts[token] += 1
    return [reports.get(row) or Chosen(token) for row, token in enumerate(tokens)]


def _change(row: Tensor, chooser: Chooser) -> None:
    """Biases, penalties and what is forbidden, in place on [V]."""
    sampling = chooser.sampling
    if sampling.bias:
        if chooser.bias is None:
            tokens = torch.tensor(list(sampling.bias), device=row.device)
            chooser.bias = tokens, torch.tensor(list(sampling.bias.values()), device=row.device, dtype=row.dtype)
        row.index_add_(0, *chooser.bias)
    if chooser.counts:
        seen = torch.tensor(list(chooser.counts), device=row.device)
        times = torch.tensor(list(chooser.counts.values()), device=row.device, dtype=row.dtype)
        row[seen] -= times * sampling.frequency_penalty + sampling.presence_penalty
    if chooser.allowed is not None:
        row.masked_fill_(~torch.from_numpy(chooser.allowed).to(row.device), float("-inf"))


def _draw(logits: Tensor, choosers: list[Chooser]) -> list[int]:
    """A token for each row of [N, V]."""
    heat = torch.tensor([chooser.sampling.temperature for chooser in choosers], device=logits.device)
    chances = torch.softmax(logits / heat[:, None], dim=-1)
    tokens: list[int] = []
    cut = [row for row, chooser in enumerate(choosers) if chooser.sampling.top_p < 1.0]
    nuclei = dict(zip(cut, _nuclei(chances[cut], [choosers[row] for row in cut]), strict=True)) if cut else {}
    whole = chances.cumsum(dim=-1) if len(cut) < len(choosers) else chances
    for row, chooser in enumerate(choosers):
        number = chooser.dice.random()
        if row in nuclei:
            order, sums = nuclei[row]
            tokens.append(int(order[_place(sums, number)]))
        else:
            tokens.append(_place(whole[row], number))
    return tokens


def _nuclei(chances: Tensor, choosers: list[Chooser]) -> list[tuple[Tensor, Tensor]]:
    """For each row the smallest set of tokens whose chances reach its top-p: (tokens, cumulative chances)."""
    found: list[tuple[Tensor, Tensor]] = []
    best, order = chances.topk(min(NUCLEUS, chances.shape[1]), dim=-1)
    sums = best.cumsum(dim=-1)
    for row, chooser in enumerate(choosers):
        wanted = chooser.sampling.top_p
        tokens, reached = order[row], sums[row]
        if float(reached[-1]) < wanted and len(tokens) < chances.shape[1]:
            sorted_chances, tokens = chances[row].sort(descending=True)
            reached = sorted_chances.cumsum(dim=-1)
        count = min(int((reached < wanted).sum()) + 1, len(tokens))
        found.append((tokens[:count], reached[:count]))
    return found


def _place(sums: Tensor, number: float) -> int:
    """Where `number` in [0, 1) of the total falls among cumulative chances; never where there is no chance."""
    wanted = torch.tensor(number * float(sums[-1]), device=sums.device, dtype=sums.dtype)
    last = int(torch.searchsorted(sums, sums[-1]))  # in fp32 a number next to 1 is rounded to the total
    return min(int(torch.searchsorted(sums, wanted, right=True)), last)


def _report(logits: Tensor, rows: list[int], tokens: list[int], choosers: list[Chooser]) -> list[Chosen]:
    if not rows:
        return []
    chances = torch.log_softmax(logits[rows], dim=-1)
    most = min(max(choosers[row].sampling.logprobs or 0 for row in rows), logits.shape[1])
    best = chances.topk(most, dim=-1) if most else None
    found: list[Chosen] = []
    for place, row in enumerate(rows):
        top: list[tuple[int, float]] = []
        if best is not None:
            count = choosers[row].sampling.logprobs or 0
            top = list(zip(best.indices[place].tolist()[:count], best.values[place].tolist()[:count], strict=True))
        found.append(Chosen(tokens[row], float(chances[place, tokens[row]]), top))
    return found
