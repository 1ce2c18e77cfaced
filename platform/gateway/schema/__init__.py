"""The gateway's paths for the OpenAPI document; it is no Django view, so nothing can be read off it.

`base` holds what all share, the other modules the paths by what they are about; bodies that are long stand beside their
handlers (`gateway.predict_schema`, `gateway.writing.schema`).
"""

from __future__ import annotations

from typing import Any

from gateway import predict_schema as predict
from gateway.schema.base import path
from gateway.schema.classify import CLASSIFY
from gateway.schema.decisions import DECISIONS
from gateway.schema.vectors import EMBEDDINGS, RERANK
from gateway.writing import schema as writing

_PREDICT = path(
    "predict",
    "Predict",
    "One door for whatever a deployed model was trained for: one label, several labels, quantities, entities, answers, "
    "scores. Texts over the model's limit are cut, and `x_truncated_tokens` says by how much; entities and answers are "
    "found in texts of any length.",
    predict.PREDICT_BODY,
    predict.PREDICT_ANSWER,
)
_MODERATIONS = path(
    "moderations",
    "Moderate",
    "What your own model of several labels flags, as the official client's `moderations.create` reads it. `model` must "
    "be named: there is none of ours behind it.",
    predict.MODERATION_BODY,
    predict.MODERATION_ANSWER,
)
_CHAT = path(
    "chat_completions",
    "Chat",
    "An answer to a conversation, by a model that writes text. Tokens are reserved as they are written: where a limit "
    "carries no more, the answer ends with the reason `budget`. A client that leaves a stream pays for what was "
    "written until then.",
    writing.CHAT_BODY,
    writing.CHAT_ANSWER,
    streams=True,
)
_COMPLETIONS = path(
    "completions",
    "Complete",
    "Prompts continued as they stand, without the chat template, by a model that writes text.",
    writing.COMPLETION_BODY,
    writing.COMPLETION_ANSWER,
    streams=True,
)

PATHS: dict[str, Any] = {
    "/v1/classify": CLASSIFY,
    "/v1/decisions": DECISIONS,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/predict": _PREDICT,
    "/v1/moderations": _MODERATIONS,
    "/v1/rerank": RERANK,
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
}
