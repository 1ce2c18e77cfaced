"""The gateway's paths for the OpenAPI document; it is no Django view, so nothing can be read off it."""

from __future__ import annotations

from typing import Any

from gateway import predict_schema as predict
from gateway.bodies import MAX_INPUTS, MAX_QUESTIONS
from gateway.honest_schema import ABSTENTION, EXPLANATION, REASON, WISHES
from gateway.writing import schema as writing
from kit.schema import Schema, component, either, many, mapping, number, one_of, string, thing, truth, whole

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
_TEXTS = either(
    f"A text, or a list of 1 to {MAX_INPUTS:,} texts. Token numbers are refused: every model has its own.",
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_INPUTS},
    example="where is my refund",
)
_MODEL = string("A deployed model or an alias of one.", example="ft:all-MiniLM-L6-v2:acme:support:dw7z90zk")
_ANSWERED = string("The model that answered.")
_USER = string(
    "A name of your own for your user: while a rollout runs, the same user stays on the same side of it.",
    null=True,
    maxLength=256,
)
_PLENTY = {
    "x_truncated_inputs": whole("Texts longer than the model reads; absent where there are none."),
}
_WORDS = {
    "400": "The request is wrong; `param` names the field.",
    "401": "The key is missing, malformed, unknown, revoked or expired.",
    "402": "A budget is used up; `x-should-retry: false`.",
    "403": "The key lacks the scope, or the organisation is suspended.",
    "404": "No such model for this key's project: misspelt, not deployed, or somebody else's.",
    "413": "The body is larger than 8 MiB.",
    "415": "The body's type is not JSON.",
    "429": "A rate limit is reached; `Retry-After` says when to come back.",
    "503": "The engine is overloaded or away; `Retry-After` says when to come back.",
}


_HEADERS = {
    name: {"description": words, "schema": {"type": "string"}}
    for name, words in {
        "x-cost-usd": "What the call cost, in dollars.",
        "x-model-version": "The model that answered, and its version.",
        "x-rollout-arm": "`stable` or `candidate`, while a rollout runs on the name that was called.",
    }.items()
}


def _path(
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


def _probability(words: str) -> Schema:
    return number(words, minimum=0, maximum=1)


_RANKED = many(
    "Labels, the likeliest first.",
    thing("A label.", {"label": string("Its name."), "probability": _probability("How likely it is.")}),
)
_CLASSIFY = _path(
    "classify",
    "Classify texts",
    "The probability of every label of a deployed classifier, likeliest first. A text over the model's limit is cut, "
    "and `x_truncated_tokens` says by how much.",
    thing(
        "What to classify.",
        {
            "model": _MODEL,
            "input": _TEXTS,
            "top_k": whole("Only this many labels; all without it.", null=True, minimum=1, maximum=10_000, example=3),
            "user": _USER,
            **WISHES,
        },
        optional=("top_k", "user", *WISHES),
    ),
    thing(
        "One prediction per text.",
        {
            "object": one_of("Always `list`.", ["list"]),
            "model": _ANSWERED,
            "data": many(
                "Predictions, in the order of the texts.",
                thing(
                    "The prediction for one text.",
                    {
                        "index": whole("The text's place in `input`, from 0."),
                        "label": string(
                            "The likeliest label; null where the model abstains.", null=True, example="refund_status"
                        ),
                        "confidence": _probability("How likely it is."),
                        "probabilities": _RANKED,
                        "x_truncated_tokens": whole("Tokens that were cut off; absent where none were."),
                        "x_reason": REASON,
                        "x_explain": EXPLANATION,
                    },
                    optional=("x_truncated_tokens", "x_reason", "x_explain"),
                ),
            ),
            "usage": thing(
                "What was read and is paid for.",
                {"input_tokens": whole("Tokens read."), "total_tokens": whole("The same."), **_PLENTY},
                optional=tuple(_PLENTY),
            ),
            "x_abstain": ABSTENTION,
        },
        optional=("x_abstain",),
    ),
)
_EMBEDDINGS = _path(
    "embeddings",
    "Embed texts",
    "Unit vectors of a base or of a deployed model. The official client asks for base64 and decodes it by itself. "
    "`dimensions` keeps the first numbers of each vector and brings them to length one again.",
    thing(
        "What to embed.",
        {
            "model": string("A base, a deployed model or an alias of one.", example="all-MiniLM-L6-v2"),
            "input": _TEXTS,
            "encoding_format": one_of(
                "`float`, the default, gives lists of numbers; `base64` little-endian float32.", ["float", "base64"]
            ),
            "dimensions": whole(
                "How many numbers each vector shall have: 1 to the model's own size, the default.", null=True
            ),
            "user": _USER,
        },
        optional=("encoding_format", "dimensions", "user"),
    ),
    thing(
        "One vector per text.",
        {
            "object": one_of("Always `list`.", ["list"]),
            "data": many(
                "Vectors, in the order of the texts.",
                thing(
                    "A vector.",
                    {
                        "object": one_of("Always `embedding`.", ["embedding"]),
                        "index": whole("The text's place in `input`, from 0."),
                        "embedding": either(
                            "The vector, as `encoding_format` asked.",
                            {"type": "array", "items": {"type": "number"}},
                            {"type": "string", "format": "byte"},
                        ),
                    },
                ),
            ),
            "model": _ANSWERED,
            "usage": thing(
                "What was read and is paid for.",
                {"prompt_tokens": whole("Tokens read."), "total_tokens": whole("The same."), **_PLENTY},
                optional=tuple(_PLENTY),
            ),
        },
    ),
)
_VALUE = either("A label of the model, or a boolean that stands for one.", {"type": "string"}, {"type": "boolean"})
_PARTS = many(
    "Parts of text.",
    thing("A part.", {"type": one_of("Its kind.", ["input_text", "output_text"]), "text": string("Its text.")}),
)
_INSTRUCTIONS = either(
    "What to decide, for people who read the call; a trained head has learned it from its data. A predicate may quote "
    "its label here.",
    {"type": "string"},
    _PARTS,
    example="What does the customer want?",
)
_QUESTION = thing(
    "A question.",
    {
        "type": one_of(
            "`choice` asks which label, `predicate` how likely one label is, `score` where on ordered levels.",
            ["choice", "predicate", "score"],
        ),
        "instructions": _INSTRUCTIONS,
        "name": string(
            "Comes back with the answer. A predicate's name is the label it asks for.", null=True, maxLength=256
        ),
        "choices": many(
            "A choice's labels, 2 to 255; all labels of the model without it. The probabilities are renormalised over "
            "them.",
            thing(
                "A choice.",
                {"value": _VALUE, "description": string("For people who read the call.", null=True)},
                optional=("description",),
            ),
            null=True,
        ),
        "levels": many(
            "A score's labels, 2 to 10, the lowest first; without it, all labels of the model, if they are whole "
            "numbers.",
            thing(
                "A level.",
                {
                    "label": string("A label of the model. Where all are whole numbers, those are the values."),
                    "description": string("For people who read the call.", null=True),
                },
                optional=("description",),
            ),
            null=True,
        ),
    },
    optional=("instructions", "name", "choices", "levels"),
)
_MESSAGE = thing(
    "A message.",
    {
        "role": one_of("Who speaks.", ["user", "system", "developer", "assistant"]),
        "content": either("What is said: a text, or parts of text.", {"type": "string"}, _PARTS),
        "type": one_of("Always `message`.", ["message"]),
    },
    optional=("type",),
)
_DECISION = thing(
    "An answer.",
    {
        "type": one_of(
            "The question's type; or `refusal`, where the model abstains.", ["choice", "predicate", "score", "refusal"]
        ),
        "name": string("The question's name; null where it had none.", null=True),
        "probability": _probability("A predicate's: how likely its label is."),
        "choice": {**_VALUE, "description": "A choice's: the likeliest value."},
        "score": number(
            "A score's: the mean of the levels' values, weighted by their probabilities; from the lowest level's value "
            "to the highest's."
        ),
        "confidence": _probability("A choice's or score's: how likely that value, or the likeliest level, is."),
        "probabilities": many(
            "A choice's values, the likeliest first, or a score's levels, the lowest first.",
            thing(
                "A value.",
                {
                    "value": either("The value.", {"type": "string"}, {"type": "boolean"}, {"type": "integer"}),
                    "label": string("A score's: the level."),
                    "probability": _probability("How likely it is."),
                },
                optional=("label",),
            ),
        ),
        "x_reason": REASON,
        "x_confidence": _probability("A refusal's: the probability of the likeliest of all labels."),
    },
    optional=("probability", "choice", "score", "confidence", "probabilities", "x_reason", "x_confidence"),
)
_DECISIONS = _path(
    "decisions",
    "Decide",
    "Questions about one input, answered by the project's own trained head. A choice without `choices` ranges over "
    "all labels of the model; with some of them the probabilities are renormalised. A predicate named after a label "
    "is that label's probability. A score is the expected value over ordered labels.",
    thing(
        "What to decide.",
        {
            "model": _MODEL,
            "input": either(
                "A text, or messages whose texts are joined in order.",
                {"type": "string"},
                {"type": "array", "items": _MESSAGE},
                example="where is my refund",
            ),
            "questions": many(
                f"1 to {MAX_QUESTIONS} questions; the input is computed, and paid for, once.",
                _QUESTION,
                minItems=1,
                maxItems=MAX_QUESTIONS,
                example=[{"type": "choice", "instructions": "What does the customer want?"}],
            ),
            "prompt_cache_key": string(
                "Stands for `user` where neither that nor `safety_identifier` is sent; nothing is cached.",
                null=True,
                maxLength=256,
            ),
            "prompt_cache_options": mapping("Taken and not used.", null=True),
            "safety_identifier": string("Stands for `user` where that is not sent.", null=True, maxLength=128),
            **WISHES,
        },
        optional=("prompt_cache_key", "prompt_cache_options", "safety_identifier", *WISHES),
    ),
    thing(
        "Answers in the order of the questions.",
        {
            "model": _ANSWERED,
            "answers": many("One per question.", _DECISION),
            "usage": thing(
                "What was read and is paid for.",
                {
                    "input_tokens": whole("Tokens read."),
                    "input_tokens_details": thing(
                        "Caching.",
                        {"cached_tokens": whole("Always 0."), "cache_write_tokens": whole("Always 0.")},
                    ),
                    "output_tokens": whole("Always 0: nothing is written."),
                    "output_tokens_details": thing("Reasoning.", {"reasoning_tokens": whole("Always 0.")}),
                    "total_tokens": whole("The same as `input_tokens`."),
                    "x_truncated_tokens": whole("Tokens that were cut off; absent where none were."),
                },
                optional=("x_truncated_tokens",),
            ),
            "x_abstain": ABSTENTION,
            "x_explain": EXPLANATION,
        },
        optional=("x_abstain", "x_explain"),
    ),
)
_RERANK = _path(
    "rerank",
    "Rerank documents",
    "Documents in the order of their nearness to a query: by a deployed cross-encoder, which reads both together, or "
    "else by the cosine of vectors of a base or of a deployed model; `x_method` says which. The shape is the one that "
    "Cohere's and Jina's clients know.",
    thing(
        "What to compare.",
        {
            "model": string("A base, a deployed model or an alias of one.", example="all-MiniLM-L6-v2"),
            "query": string("What the documents shall be near to.", example="where is my refund"),
            "documents": many(
                "1 to 1,000 documents, none of them empty.",
                either(
                    "A text, or an object that holds it.",
                    string("The text."),
                    thing(
                        "A document.",
                        {
                            "text": string("The text."),
                        },
                    ),
                ),
            ),
            "top_n": whole("Only this many of the nearest; all without it.", null=True, minimum=1),
            "return_documents": truth("Whether each result repeats its document."),
            "user": _USER,
        },
        optional=("top_n", "return_documents", "user"),
    ),
    thing(
        "The nearest first.",
        {
            "object": one_of("Always `list`.", ["list"]),
            "model": _ANSWERED,
            "results": many(
                "Documents by nearness.",
                thing(
                    "A document's nearness.",
                    {
                        "index": whole("The document's place in `documents`, from 0."),
                        "relevance_score": number("0 to 1, or the cosine of two vectors: -1 to 1."),
                        "document": thing("The document, if asked for.", {"text": string("Its text.")}),
                    },
                    optional=("document",),
                ),
            ),
            "usage": thing(
                "What was read and is paid for.",
                {"prompt_tokens": whole("Tokens read."), "total_tokens": whole("The same."), **_PLENTY},
                optional=tuple(_PLENTY),
            ),
            "x_method": one_of("What the scores are.", ["cosine", "cross-encoder"]),
        },
    ),
)
_PREDICT = _path(
    "predict",
    "Predict",
    "One door for whatever a deployed model was trained for: one label, several labels, quantities, entities, answers, "
    "scores. Texts over the model's limit are cut, and `x_truncated_tokens` says by how much; entities and answers are "
    "found in texts of any length.",
    predict.PREDICT_BODY,
    predict.PREDICT_ANSWER,
)
_MODERATIONS = _path(
    "moderations",
    "Moderate",
    "What your own model of several labels flags, as the official client's `moderations.create` reads it. `model` must "
    "be named: there is none of ours behind it.",
    predict.MODERATION_BODY,
    predict.MODERATION_ANSWER,
)
_CHAT = _path(
    "chat_completions",
    "Chat",
    "An answer to a conversation, by a model that writes text. Tokens are reserved as they are written: where a limit "
    "carries no more, the answer ends with the reason `budget`. A client that leaves a stream pays for what was "
    "written until then.",
    writing.CHAT_BODY,
    writing.CHAT_ANSWER,
    streams=True,
)
_COMPLETIONS = _path(
    "completions",
    "Complete",
    "Prompts continued as they stand, without the chat template, by a model that writes text.",
    writing.COMPLETION_BODY,
    writing.COMPLETION_ANSWER,
    streams=True,
)

PATHS: dict[str, Any] = {
    "/v1/classify": _CLASSIFY,
    "/v1/decisions": _DECISIONS,
    "/v1/embeddings": _EMBEDDINGS,
    "/v1/predict": _PREDICT,
    "/v1/moderations": _MODERATIONS,
    "/v1/rerank": _RERANK,
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _COMPLETIONS,
}
