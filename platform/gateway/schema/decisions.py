"""Questions about one input: `/v1/decisions`."""

from __future__ import annotations

from gateway.bodies import MAX_QUESTIONS
from gateway.honest_schema import ABSTENTION, EXPLANATION, REASON, WISHES
from gateway.schema.base import ANSWERED, MODEL, path, probability
from kit.schema import either, many, mapping, number, one_of, string, thing, whole

_VALUE = either("A label of the model, or a boolean that stands for one.", {"type": "string"}, {"type": "boolean"})
_PARTS = many(
    "Parts of text.",
    thing(
        "A part.",
        {
            "type": one_of("Its kind.", ["input_text", "output_text"]),
            "text": string("Its text."),
            "prompt_cache_breakpoint": mapping("Of an `input_text`: a hint for a cache; changes nothing.", null=True),
        },
        optional=("prompt_cache_breakpoint",),
    ),
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
            "`choice` asks which label, `predicate` how likely one label is, `score` where on levels, or how much.",
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
        "probability": probability("A predicate's: how likely its label is."),
        "choice": {**_VALUE, "description": "A choice's: the likeliest value."},
        "score": number(
            "A score's: the mean of the levels' values, weighted by their probabilities; from the lowest level's value "
            "to the highest's. Of a model for regression the number itself."
        ),
        "confidence": probability(
            "A choice's or score's: how likely that value, or the likeliest level, is. Of a model for regression 0: it "
            "does not say."
        ),
        "probabilities": many(
            "A choice's values, the likeliest first, or a score's levels, the lowest first.",
            thing(
                "A value.",
                {
                    "value": either("The value.", {"type": "string"}, {"type": "boolean"}, {"type": "integer"}),
                    "label": string("A score's: the level."),
                    "probability": probability("How likely it is."),
                },
                optional=("label",),
            ),
        ),
        "x_reason": REASON,
        "x_confidence": probability("A refusal's: the probability of the likeliest of all labels."),
    },
    optional=("probability", "choice", "score", "confidence", "probabilities", "x_reason", "x_confidence"),
)
DECISIONS = path(
    "decisions",
    "Decide",
    "Questions about one input, answered by the project's own trained head. A choice without `choices` ranges over "
    "all labels of the model; with some of them the probabilities are renormalised. A predicate named after a label "
    "is that label's probability. A score is the expected value over ordered labels, or the number of a model for "
    "regression.",
    thing(
        "What to decide.",
        {
            "model": MODEL,
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
            "prompt_cache_options": mapping("A hint for a cache: taken, changes nothing.", null=True),
            "safety_identifier": string("Stands for `user` where that is not sent.", null=True, maxLength=128),
            **WISHES,
        },
        optional=("prompt_cache_key", "prompt_cache_options", "safety_identifier", *WISHES),
    ),
    thing(
        "Answers in the order of the questions.",
        {
            "model": ANSWERED,
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
