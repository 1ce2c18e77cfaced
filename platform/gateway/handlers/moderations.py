"""POST /v1/moderations, as the official client calls it: a project's own model of several labels says what is flagged.

A list of texts has a result for each; a list of parts is one input, its texts joined by a line. Nothing is sent to
anybody else, and there is no model of ours behind it: `model` names one that was trained on your data.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway import bodies
from gateway.calls import Call
from gateway.errors import Unsupported
from gateway.handlers import rows
from gateway.handlers.predict import KIND, THRESHOLD, texts_of
from gateway.wire import encode
from inference.tasks import MULTI_LABEL
from kit.errors import BadRequest
from kit.ids import new_id, public_id

TEXT_ONLY = ["text"]


class Moderate(bodies.Body, frozen=True):
    """POST /v1/moderations."""

    model: bodies.Name
    input: Any
    x_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = THRESHOLD


class Result(msgspec.Struct, omit_defaults=True, gc=False):
    """What one input is flagged for. Categories are the model's labels."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    x_truncated_tokens: int = 0


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, Moderate)
    texts = _inputs(body.input)
    route = await call.route(body.model, body)
    route.require_task(MULTI_LABEL)
    result = await call.classify(route, texts, KIND, body.x_threshold)
    types = dict.fromkeys(route.labels, TEXT_ONLY)
    results = []
    for index, row in enumerate(rows.probabilities(result)):
        over = {label: chance >= body.x_threshold for label, chance in zip(route.labels, row, strict=True)}
        scores = dict(zip(route.labels, rows.rounded(row, list(range(len(row)))), strict=True))
        cut = max(result.lengths[index] - result.limit, 0)
        results.append(Result(any(over.values()), over, scores, types, cut))
    tokens = rows.used_tokens(result.lengths, result.limit)
    usage = {"input_tokens": tokens, "total_tokens": tokens}
    if cut_inputs := rows.cut(result.lengths, result.limit):
        usage["x_truncated_inputs"] = cut_inputs
    return encode(
        {"id": public_id("modr-", new_id()), "model": route.model, "results": results, "x_usage": usage}
    )  # fmt: skip


def _inputs(value: Any) -> list[str]:
    """Texts, or the one text of a list of parts."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return texts_of(value)
    if len(value) > bodies.MAX_INPUTS:
        raise BadRequest(
            f"'input' holds {len(value)} parts; at most {bodies.MAX_INPUTS} go in one request.", param="input"
        )
    texts = []
    for index, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            what = f"a part of type '{str(kind)[:40]}'" if isinstance(part, dict) else "no part"
            refusal = Unsupported if kind == "image_url" else BadRequest
            raise refusal(
                f"'input[{index}]' is {what}: your model reads text only, so images cannot be moderated here.",
                param=f"input[{index}]",
            )
        text = part.get("text")
        if not isinstance(text, str) or not text or text.isspace():
            raise BadRequest(f"'input[{index}].text' must be a text that is not empty.", param=f"input[{index}].text")
        texts.append(text)
    return ["\n".join(texts)]
