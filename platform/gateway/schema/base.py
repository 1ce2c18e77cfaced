"""What the documents of all paths share: the error, the model and the texts of a body, and a path around two bodies."""

from __future__ import annotations

from typing import Any

from gateway.bodies import MAX_INPUTS
from kit.schema import Schema, component, either, number, string, thing, whole

ERROR = component(
    "Error",
    thing(
        "What went wrong.",
        {
            "error": thing(
                "The four keys, always.",
                {
                    "message": string("What happened, which limit, and what to do."),
                    "type": string("The family of the error.", example="invalid_request_error"),
                    "param": string("Path of the field at fault; null where none is.", null=True),
                    "code": string("A stable name of the error; null for plain bad input.", null=True),
                },
            )
        },
    ),
)
TEXTS = either(
    f"A text, or a list of 1 to {MAX_INPUTS:,} texts. Token numbers are refused: every model has its own.",
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_INPUTS},
    example="where is my refund",
)
MODEL = string("A deployed model or an alias of one.", example="ft:all-MiniLM-L6-v2:acme:support:dw7z90zk")
ANSWERED = string("The model that answered.")
USER = string(
    "A name of your own for your user: while a rollout runs, the same user stays on the same side of it.",
    null=True,
    maxLength=256,
)
PLENTY = {
    "x_truncated_inputs": whole("Texts longer than the model reads; absent where there are none."),
}
_WORDS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "The key is missing, malformed, unknown, revoked or expired.",
    "402": "A budget is used up; `x-should-retry: false`.",
    "403": "The key lacks the scope, or the organisation is suspended.",
    "404": "No such model for this key's project: misspelt, not deployed, or somebody else's.",
    "413": "The body is larger than 8 MiB, or its texts would take longer to compute than a call may wait.",
    "415": "The body's type is not JSON.",
    "429": "A rate limit is reached; `Retry-After` says when to come back.",
    "503": "The engine is overloaded or away; `Retry-After` says when to come back.",
}


_HEADERS = {
    name: {"description": words, "schema": {"type": "string"}}
    for name, words in {
        "x-cost-usd": "What the call cost. The name ends in your organisation's currency.",
        "x-model-version": "The model that answered, and its version.",
        "x-rollout-arm": "`stable` or `candidate`, while a rollout runs on the name that was called.",
    }.items()
}


def path(
    name: str, summary: str, description: str, body: Schema, answer: Schema, *, streams: bool = False
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": answer}}
    if streams:
        content["text/event-stream"] = {"schema": string("Chunks as server-sent events, if `stream` was asked for.")}
    responses: dict[str, Any] = {"200": {"description": "The answer.", "headers": _HEADERS, "content": content}}
    for status, words in _WORDS.items():
        responses[status] = {"description": words, "content": {"application/json": {"schema": ERROR}}}
    return {
        "post": {
            "operationId": name,
            "tags": ["inference"],
            "summary": summary,
            "description": description,
            "security": [{"apiKey": []}],
            "x-scope": "inference",
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": responses,
        }
    }


def probability(words: str) -> Schema:
    return number(words, minimum=0, maximum=1)
