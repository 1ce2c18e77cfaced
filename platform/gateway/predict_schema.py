"""What `/v1/predict` and `/v1/moderations` take and answer, field by field, for the OpenAPI document."""

from __future__ import annotations

from gateway.bodies import MAX_INPUTS
from gateway.handlers.predict import MAX_ANSWERS, TASKS
from gateway.honest_schema import ABSTENTION, REASON, WISHES
from kit.schema import Schema, either, many, mapping, number, one_of, string, thing, truth, whole

_MODEL = string("A deployed model or an alias of one.", example="ft:all-MiniLM-L6-v2:acme:support:dw7z90zk")
_INDEX = whole("The input's place in the request, from 0.")
_CUT = whole("Tokens that were cut off; absent where none were.")
_USAGE = {
    "input_tokens": whole("Tokens read: each token of a text once, however many windows it takes."),
    "total_tokens": whole("The same."),
    "x_truncated_inputs": whole("Texts longer than the model reads; absent where there are none."),
}


def _chance(words: str) -> Schema:
    return number(words, minimum=0, maximum=1)


def _place(of: str) -> dict[str, Schema]:
    return {
        "text": string(f"The words themselves, as they stand in the {of}."),
        "start": whole(f"Its first character in the {of}, in Unicode code points from 0."),
        "end": whole("The character after its last."),
    }


def _pair(words: str, first: tuple[str, str], second: tuple[str, str]) -> Schema:
    return thing(words, {first[0]: string(first[1]), second[0]: string(second[1])})


_QUESTION = _pair(
    "For a model that answers questions.",
    ("question", "At most half of what the model reads."),
    ("context", "The text that may hold the answer, of any length."),
)
_PAIR = _pair(
    "For a cross-encoder. All documents of one request have one query.",
    ("query", "What is looked for."),
    ("document", "What is scored."),
)
_TEXT: Schema = {"type": "string"}
_INPUT = either(
    f"A text, a question with its context, or a query with a document, as the model's task asks; or a list of 1 to "
    f"{MAX_INPUTS:,} of them.",
    _TEXT,
    _QUESTION,
    _PAIR,
    {"type": "array", "items": {"oneOf": [_TEXT, _QUESTION, _PAIR]}, "minItems": 1, "maxItems": MAX_INPUTS},
    example="Angela Merkel met Emmanuel Macron in Paris.",
)
PREDICT_BODY = thing(
    "What to read.",
    {
        "model": _MODEL,
        "input": _INPUT,
        "top_k": whole(
            f"Only this many labels (all without it), or answers (1 without it, at most {MAX_ANSWERS}).",
            null=True, minimum=1, maximum=10_000, example=3,
        ),
        "threshold": number("From which chance on a label holds, of several labels; 0.5 without it.",
                            null=True, minimum=0, maximum=1, example=0.5),
        "user": string(
            "A name of your own for your user: while a rollout runs, the same user stays on the same side of it.",
            null=True,
            maxLength=256,
        ),
        "x_abstain": WISHES["x_abstain"] | {
            "description": f"Of text-classification only. {WISHES['x_abstain']['description']}"
        },
    },
    optional=("top_k", "threshold", "user", "x_abstain"),
)  # fmt: skip
_LABELLED = thing(
    "`text-classification`: one label of several.",
    {
        "index": _INDEX,
        "label": string("The likeliest label; null where the model abstains.", null=True),
        "confidence": _chance("How likely it is."),
        "probabilities": many(
            "Labels, the likeliest first.",
            thing("A label.", {"label": string("Its name."), "probability": _chance("How likely it is.")}),
        ),
        "x_truncated_tokens": _CUT,
        "x_reason": REASON,
    },
    optional=("x_truncated_tokens", "x_reason"),
)
_SEVERAL = thing(
    "`multi-label-classification`: any number of labels, each by itself.",
    {
        "index": _INDEX,
        "labels": many("The labels that hold, the likeliest first.", string("A label.")),
        "probabilities": many(
            "Labels, the likeliest first.",
            thing(
                "A label.",
                {
                    "label": string("Its name."),
                    "probability": _chance("How likely it is by itself."),
                    "chosen": truth("Whether that reaches the threshold."),
                },
            ),
        ),
        "threshold": _chance("What decided."),
        "x_truncated_tokens": _CUT,
    },
    optional=("x_truncated_tokens",),
)
_QUANTITIES = thing(
    "`regression`: quantities.",
    {
        "index": _INDEX,
        "value": number("The first quantity."),
        "values": many(
            "All of them.", thing("A quantity.", {"name": string("What it is of."), "value": number("The number.")})
        ),
        "x_truncated_tokens": _CUT,
    },
    optional=("x_truncated_tokens",),
)
_ENTITIES = thing(
    "`token-classification`: entities. A long text is read whole, in overlapping windows.",
    {
        "index": _INDEX,
        "entities": many(
            "What the text names, in order.",
            thing(
                "An entity.",
                {
                    "label": string("Its kind, without the letter for its place (`PER`, not `B-PER`)."),
                    **_place("text"),
                    "score": _chance("How likely the labels of its words are, in the mean."),
                },
            ),
        ),
    },
)
_ANSWERS = thing(
    "`question-answering`: answers. A long context is read whole, in overlapping windows.",
    {
        "index": _INDEX,
        "answers": many(
            "Places in the context, the likeliest first.",
            thing("An answer.", {**_place("context"), "score": _chance("Its share among the 20 likeliest and none.")}),
        ),
        "no_answer_probability": _chance("The share of there being no answer."),
    },
)
_SCORE = thing(
    "`rerank`: how well the document answers the query.",
    {"index": _INDEX, "score": _chance("1 is best."), "x_truncated_tokens": _CUT},
    optional=("x_truncated_tokens",),
)
PREDICT_ANSWER = thing(
    "One answer for each input; `task` says of which kind.",
    {
        "object": one_of("Always `list`.", ["list"]),
        "model": string("The model that answered."),
        "task": one_of("What it is for.", list(TASKS)),
        "data": many(
            "In the order of the inputs.",
            either("By the task.", _LABELLED, _SEVERAL, _QUANTITIES, _ENTITIES, _ANSWERS, _SCORE),
        ),
        "usage": thing("What was read and is paid for.", _USAGE, optional=("x_truncated_inputs",)),
        "x_abstain": ABSTENTION,
    },
    optional=("x_abstain",),
)
_PARTS = many(
    "Parts of one input; their texts are joined by a line. Images are refused.",
    thing("A part.", {"type": one_of("Its kind.", ["text"]), "text": string("Its text.")}),
)
MODERATION_BODY = thing(
    "What to look at.",
    {
        "model": string("A deployed model of several labels, or an alias of one.", example="safety@prod"),
        "input": either(
            f"A text, a list of 1 to {MAX_INPUTS:,} texts, or the parts of one input.",
            _TEXT,
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_INPUTS},
            _PARTS,
            example="I will find you",
        ),
        "x_threshold": number("From which score on a category is flagged.", minimum=0, maximum=1, default=0.5),
    },
    optional=("x_threshold",),
)
_CATEGORY = "By category: the labels of your model."
MODERATION_ANSWER = thing(
    "A result for each input.",
    {
        "id": string("A name for this answer.", example="modr-0f0k1b9m5s6g1"),
        "model": string("The model that answered."),
        "results": many(
            "In the order of the inputs.",
            thing(
                "What one input is flagged for.",
                {
                    "flagged": truth("Whether any category is."),
                    "categories": mapping(_CATEGORY, truth("Whether its score reaches the threshold.")),
                    "category_scores": mapping(_CATEGORY, _chance("How likely it is by itself.")),
                    "category_applied_input_types": mapping(
                        _CATEGORY, many("What was looked at.", one_of("Always `text`.", ["text"]))
                    ),
                    "x_truncated_tokens": _CUT,
                },
                optional=("x_truncated_tokens",),
            ),
        ),
        "x_usage": thing("What was read and is paid for.", _USAGE, optional=("x_truncated_inputs",)),
    },
)
