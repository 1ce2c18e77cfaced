"""The gateway's paths for the OpenAPI document; it is no Django view, so nothing can be read off it."""

from __future__ import annotations

from typing import Any

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "string", "nullable": True},
                "code": {"type": "string", "nullable": True},
            },
        }
    },
}
_TEXTS = {
    "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2048}],
    "description": "A text or a list of texts.",
}
_MODEL = {"type": "string", "description": "A deployed model, an alias such as triage@prod, or (embeddings) a base."}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT = {"type": "integer", "minimum": 0}
_WORDS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "The key is missing, malformed, unknown, revoked or expired.",
    "402": "A budget is used up; `x-should-retry: false`.",
    "403": "The key lacks the scope `inference`, or the organisation is suspended.",
    "404": "No such model for this key's project.",
    "413": "The body is larger than 8 MiB.",
    "429": "A rate limit is reached; `Retry-After` says when to come back.",
    "503": "The engine is overloaded or away; `Retry-After` says when to come back.",
}


def _object(properties: dict[str, Any], *, required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": required or list(properties), "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _path(name: str, summary: str, description: str, body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}}
    }
    for status, words in _WORDS.items():
        responses[status] = {"description": words, "content": {"application/json": {"schema": _ERROR}}}
    return {
        "post": {
            "operationId": name,
            "tags": ["inference"],
            "summary": summary,
            "description": description,
            "security": [{"apiKey": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": responses,
        }
    }


_RANKED = _list(_object({"label": {"type": "string"}, "probability": _PROBABILITY}))
_CLASSIFY = _path(
    "classify",
    "Classify texts",
    "The probability of every label of a deployed classifier, likeliest first. A text over the model's limit is cut, "
    "and `x_truncated_tokens` says by how much.",
    _object(
        {"model": _MODEL, "input": _TEXTS, "top_k": {"type": "integer", "minimum": 1}}, required=["model", "input"]
    ),
    _object(
        {
            "object": {"type": "string", "enum": ["list"]},
            "model": {"type": "string"},
            "data": _list(
                _object(
                    {
                        "index": _COUNT,
                        "label": {"type": "string"},
                        "confidence": _PROBABILITY,
                        "probabilities": _RANKED,
                        "x_truncated_tokens": _COUNT,
                    },
                    required=["index", "label", "confidence", "probabilities"],
                )
            ),
            "usage": _object({"input_tokens": _COUNT, "total_tokens": _COUNT}),
        }
    ),
)
_EMBEDDINGS = _path(
    "embeddings",
    "Embed texts",
    "Unit vectors of a base or of a deployed model, base64 of little-endian float32 with `encoding_format: base64`.",
    _object(
        {"model": _MODEL, "input": _TEXTS, "encoding_format": {"type": "string", "enum": ["float", "base64"]}},
        required=["model", "input"],
    ),
    _object(
        {
            "object": {"type": "string", "enum": ["list"]},
            "model": {"type": "string"},
            "data": _list(
                _object(
                    {
                        "object": {"type": "string", "enum": ["embedding"]},
                        "index": _COUNT,
                        "embedding": {"oneOf": [{"type": "string"}, _list({"type": "number"})]},
                    }
                )
            ),
            "usage": _object({"prompt_tokens": _COUNT, "total_tokens": _COUNT}),
        }
    ),
)
_QUESTION = _object(
    {
        "type": {"type": "string", "enum": ["choice", "predicate"]},
        "name": {"type": "string"},
        "instructions": {"type": "string"},
        "choices": _list(_object({"value": {"oneOf": [{"type": "string"}, {"type": "boolean"}]}})),
    },
    required=["type"],
)
_DECISIONS = _path(
    "decisions",
    "Decide",
    "Questions about one input, answered by the project's own trained head. A choice without `choices` ranges over "
    "all labels of the model; with some of them the probabilities are renormalised. A predicate named after a label "
    "is that label's probability.",
    _object(
        {
            "model": _MODEL,
            "input": {"oneOf": [{"type": "string"}, _list({"type": "object"})]},
            "questions": {**_list(_QUESTION), "minItems": 1, "maxItems": 400},
        }
    ),
    _object(
        {
            "model": {"type": "string"},
            "answers": _list({"type": "object"}),
            "usage": _object({"input_tokens": _COUNT, "output_tokens": _COUNT, "total_tokens": _COUNT}),
        }
    ),
)
_NO_TEXT = "No model here writes text yet: the answer is an error that names what the project can call instead."
_ANYTHING: dict[str, Any] = {"type": "object", "required": ["model"], "properties": {"model": _MODEL}}

PATHS: dict[str, Any] = {
    "/v1/classify": _CLASSIFY,
    "/v1/decisions": _DECISIONS,
    "/v1/embeddings": _EMBEDDINGS,
    "/v1/chat/completions": _path("chat_completions", "Chat", _NO_TEXT, _ANYTHING, {"type": "object"}),
    "/v1/completions": _path("completions", "Complete", _NO_TEXT, _ANYTHING, {"type": "object"}),
}
