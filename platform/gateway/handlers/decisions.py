"""POST /v1/decisions: questions about one input, answered by the project's own trained head: labels or quantities.

The input is computed once, whatever the number of questions; `gateway.handlers.questions` says what each one asks.
"""

from __future__ import annotations

from typing import Any

from gateway import bodies
from gateway.calls import Call
from gateway.errors import Unsupported
from gateway.handlers import abstaining, rows
from gateway.handlers.explanation import explain
from gateway.handlers.questions import answer, joined, plan
from gateway.wire import encode
from inference.tasks import REGRESSION
from kit.errors import BadRequest
from serving.routes import Route


async def handle(call: Call) -> bytes:
    """The answer's body."""
    body = bodies.read(call.body, bodies.Decisions)
    text = _text(body.input)
    route = await call.route(body.model, body)
    if route.task != REGRESSION:
        route.require_labels()
    plans = [plan(question, route, f"questions[{index}]") for index, question in enumerate(body.questions)]
    if route.task == REGRESSION:
        _check_wishes(body, route)
    rule = abstaining.rule_of(body.x_abstain, route)
    explanation = None
    if body.x_explain:
        result, explanation = await explain(call, route, text, "decisions")
    else:
        result = await call.classify(route, [text], "decisions")
    row = rows.probabilities(result)[0]
    usage = _usage(result.lengths[0], result.limit, 0 if explanation is None else explanation.tokens)
    whole: dict[str, Any] = {
        "model": route.model, "answers": [answer(one, row, rule) for one in plans], "usage": usage
    }  # fmt: skip
    if rule is not None:
        whole["x_abstain"] = abstaining.applied(rule)
    if explanation is not None:
        whole["x_explain"] = explanation
    return encode(whole)


def _check_wishes(body: bodies.Decisions, route: Route) -> None:
    """Refuse by name what speaks of probabilities, which a model for regression does not give."""
    for name, wish in (("x_abstain", body.x_abstain), ("x_explain", body.x_explain)):
        if wish:
            raise BadRequest(
                f"'{name}' goes by the probabilities of labels; '{route.model}' gives quantities. Leave it out.",
                param=name,
            )


def _usage(length: int, limit: int, extra: int = 0) -> dict[str, Any]:
    """What was read: the text as far as the model reads it, and `extra` tokens of an explanation."""
    tokens = min(length, limit) + extra
    usage = {
        "input_tokens": tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens,
    }
    if length > limit:
        usage["x_truncated_tokens"] = length - limit
    return usage


def _text(value: str | list[bodies.Item]) -> str:
    """The input as one text: messages in order, a line between them."""
    if isinstance(value, str):
        text = value
    else:
        text = "\n".join(_said(item, f"input[{index}]") for index, item in enumerate(value))
    if not text or text.isspace():
        raise BadRequest("'input' is empty. Send a text.", param="input")
    return text


def _said(item: bodies.Item, path: str) -> str:
    """One message's text."""
    if item.type != "message":
        raise Unsupported(
            f"{path}: this model reads text only; calls of tools and their outputs cannot be sent to it. Send what "
            "they say as a message.",
            param=f"{path}.type",
        )
    if item.content is None or item.role is None:
        name = "content" if item.content is None else "role"
        raise BadRequest(f"Missing field '{path}.{name}'.", param=f"{path}.{name}")
    if item.phase is not None:
        raise Unsupported(
            f"'{path}.phase': models here do not tell the phases of an answer apart. Leave it out.",
            param=f"{path}.phase",
        )
    for name in sorted(item.REFUSED):
        if getattr(item, name) is not None:
            raise BadRequest(f"Unknown field '{path}.{name}': a message has none.", param=f"{path}.{name}")
    return item.content if isinstance(item.content, str) else joined(item.content, f"{path}.content")
