"""The report of a model that writes: loss, perplexity and token accuracy on the replies of the test rows, beside the
untuned base on the same rows.

`build` is pure: arrays in, one JSON-ready dict out (format 1), with the parts that the report of a classifier has:
`test`, `baseline`, `verdict`, `gate`, `training`, `limits`. A loss is the mean negative log-probability (nats) of a
reply's token given all before it, over all reply tokens; perplexity is its exponential. Intervals resample rows, since
the tokens of one reply hang together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.gate import SMALL_TEST, Gate
from evaluation.intervals import LEVEL, RESAMPLES, Figure
from evaluation.metrics import Floats, Ints

FORMAT = 1
METRIC = "loss"
HARDEST = 20
EXCERPT = 600  # characters
_CHUNK = 1_000_000  # resampled rows in memory at once
_MOST_EXPONENT = 700.0  # of a perplexity that is still a number


@dataclass(frozen=True, slots=True)
class Told:
    """What a model made of N test rows: summed loss, reply tokens, and those it would have written itself."""

    loss: Floats  # [N]
    tokens: Ints  # [N]
    right: Ints  # [N]


def build(
    *,
    task: str,
    row_ids: Sequence[int],
    texts: Sequence[str],
    tuned: Told,
    base: Told,
    base_name: str,
    counts: dict[str, int],
    training: dict[str, Any],
    limits: list[dict[str, str]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The report. `counts` are rows per split; `training` and `limits` are passed on as they are."""
    draws = _draws(tuned, base, resamples, seed)
    n = len(tuned.loss)
    difference = _figure(_ratio(base.loss, base.tokens) - _ratio(tuned.loss, tuned.tokens), draws[1] - draws[0], n)
    ratio = _figure(_ratio(tuned.right, tuned.tokens), draws[2], n)
    ours, theirs = (_figures(told, draw, n) for told, draw in ((tuned, draws[0]), (base, draws[1])))
    return {
        "format": FORMAT,
        "task": task,
        "labels": [],
        "n": counts,
        "test": {**ours, "token_accuracy": ratio.to_json(), "tokens": int(tuned.tokens.sum())},
        "baseline": {
            "name": base_name,
            **theirs,
            "token_accuracy": _figure(_ratio(base.right, base.tokens), draws[3], n).to_json(),
            "loss_difference": difference.to_json(),
        },
        "verdict": _verdict(difference),
        "gate": _gate(difference).to_json(),
        "hardest": _hardest(row_ids, texts, tuned, base),
        "training": training,
        "limits": limits,
        "interval": {
            "level": LEVEL,
            "method": "percentile bootstrap over rows",
            "resamples": resamples,
            "seed": seed,
        },
    }


def _ratio(sums: Floats | Ints, tokens: Ints) -> float:
    return float(sums.sum() / max(1, int(tokens.sum())))


def _draws(tuned: Told, base: Told, resamples: int, seed: int) -> Floats:
    """Loss of both and token accuracy of both, of resampled rows: [4, B]."""
    columns = np.stack([tuned.loss, base.loss, tuned.right, base.right]).astype(np.float64)  # [4, N]
    tokens = tuned.tokens.astype(np.float64)
    n, generator = len(tokens), np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, n))
    parts = []
    for start in range(0, resamples, step):
        rows = generator.integers(0, n, size=(min(step, resamples - start), n))
        parts.append(columns[:, rows].sum(axis=2) / tokens[rows].sum(axis=1))
    return np.concatenate(parts, axis=1)


def _figures(told: Told, losses: Floats, n: int) -> dict[str, Any]:
    loss = _figure(_ratio(told.loss, told.tokens), losses, n)
    value, low, high = (float(np.exp(min(one, _MOST_EXPONENT))) for one in (loss.value, loss.low, loss.high))
    return {"loss": loss.to_json(), "perplexity": Figure(value, low, high, n).to_json()}


def _figure(value: float, samples: Floats, n: int) -> Figure:
    low, high = (float(one) for one in np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Figure(value, min(low, value), max(high, value), n)


def _verdict(difference: Figure) -> dict[str, Any]:
    """The comparison in one record: by how much the loss is lower, and a stable code for the words on the page."""
    code = "better" if difference.low > 0 else "worse" if difference.high < 0 else "equal_within_interval"
    figure = difference.to_json()
    return {
        "metric": METRIC,
        "better_by": figure["value"],
        "low": figure["low"],
        "high": figure["high"],
        "n": figure["n"],
        "text_code": code if code == "equal_within_interval" else f"{code}_than_baseline",
    }


def _gate(difference: Figure) -> Gate:
    """It passes unless the data says that it is worse than the base it was made from."""
    nats = f"{difference.value:+.3f} nats per token (95% interval {difference.low:+.3f} to {difference.high:+.3f}, "
    nats += f"n = {difference.n})"
    if difference.high < 0:
        reasons = [{"code": "worse_than_baseline", "message": f"The loss is above the untuned base's: {nats}."}]
    elif difference.low > 0:
        reasons = [{"code": "better_than_baseline", "message": f"The loss is below the untuned base's: {nats}."}]
    else:
        words = f"The loss equals the untuned base's within error: {nats}."
        reasons = [{"code": "equal_within_interval", "message": words}]
    if difference.n < SMALL_TEST:
        words = f"Only {difference.n} test rows: the intervals are wide. Add rows to be sure."
        reasons.append({"code": "small_test", "message": words})
    return Gate(difference.high >= 0, reasons)


def _hardest(row_ids: Sequence[int], texts: Sequence[str], tuned: Told, base: Told) -> list[dict[str, Any]]:
    """The test rows with the highest loss per token."""
    tokens = np.maximum(tuned.tokens, 1)
    each, before = tuned.loss / tokens, base.loss / tokens
    return [
        {
            "row_id": int(row_ids[i]),
            "text": texts[i][-EXCERPT:],
            "loss": round(float(each[i]), 6),
            "baseline_loss": round(float(before[i]), 6),
            "tokens": int(tuned.tokens[i]),
        }
        for i in np.argsort(-each, kind="stable")[:HARDEST].tolist()
    ]
