"""`x_abstain` and `x_explain` for the OpenAPI document: what a call may ask, and what its answer tells."""

from __future__ import annotations

from evaluation.occlusion import MATTERS, MOST_READINGS
from kit.schema import Schema, component, either, many, number, one_of, string, thing, truth, whole
from serving.training_rows import MAX_SHOWN, NEAREST


def _share(words: str, *, null: bool = False) -> Schema:
    return number(words, null=null, minimum=0, maximum=1)


def _piece(words: str) -> Schema:
    return thing(
        words,
        {
            "text": string("As written."),
            "start": whole("Its first character in the text, from 0."),
            "end": whole("The character after its last."),
            "effect": number(
                "How much less likely the label is without it; below 0, it speaks against the label. Effects do not "
                "add up: words that say the same stand in for each other.",
                minimum=-1,
                maximum=1,
            ),
            "words": whole("How many words it has."),
        },
    )


WISHES: dict[str, Schema] = {
    "x_abstain": either(
        "Answer only where the model is sure enough. `precision`: the share of answers that shall be right; the "
        "threshold is the one whose promise rows held out from training support. `threshold`: a bare probability, "
        "which promises nothing. true: what the deployment says; false: always answer. Without it, what the deployment "
        "says.",
        {"type": "boolean"},
        thing(
            "One of the two.",
            {
                "precision": number("Above 0, at most 1.", null=True, maximum=1, example=0.95),
                "threshold": _share("Of the likeliest label's probability.", null=True),
            },
            optional=("precision", "threshold"),
        ),
        nullable=True,
    ),
    "x_explain": truth(
        "Also say which words decided, and which rows of the training data are nearest. One text a call; the tokens "
        "that this takes are paid for as read."
    ),
}
ABSTENTION = component(
    "Abstention",
    thing(
        "The rule that was applied; absent where every input is answered.",
        {
            "threshold": _share("Answered is what reaches it; null: nothing is, for nothing was promised.", null=True),
            "precision": _share("The precision asked for; null where a bare threshold was.", null=True),
            "expected_precision": _share("Share right among the held-out rows that reach it.", null=True),
            "expected_coverage": _share("Share of the held-out rows that reach it.", null=True),
            "held_out": whole("Held-out rows behind these figures; 0 where nothing is promised."),
            "confidence": _share("That the precision is kept, on inputs like the held-out rows.", null=True),
        },
    ),
)
REASON = one_of("Why there is no answer.", ["below_threshold"])
EXPLANATION = component(
    "Explanation",
    thing(
        "Why this answer.",
        {
            "label": string("The label that is explained: the likeliest."),
            "probability": _share("Its probability."),
            "method": one_of("`occlusion`: the text is read again without each word.", ["occlusion"]),
            "words": many(
                "The smallest pieces that were left out, in the order of the text; together they are all its words. "
                f"Single words where a text has no more than {MOST_READINGS} of them (fewer, the longer they are); of "
                "a longer one what matters most is taken apart furthest.",
                _piece("A word, or several."),
            ),
            "segments": many(
                "Of a longer text: segments that were left out as a whole, changed the answer, and were then looked "
                f"into. What changes it by less than {MATTERS} is not, so words that cancel each other stay together.",
                _piece("A segment; its parts are among `words`, or segments again."),
            ),
            "readings": whole(f"How often the text was read without a piece, {MOST_READINGS} times at most."),
            "nearest": many(
                f"Up to {NEAREST} rows of the training data whose vectors are nearest, the nearest first.",
                thing(
                    "A row.",
                    {
                        "row": whole("Its number in the dataset version."),
                        "label": string("What it was trained as."),
                        "similarity": number("Cosine of the two vectors.", minimum=-1, maximum=1),
                        "text": string(
                            f"Its text, {MAX_SHOWN} characters at most; null if it cannot be read now.", null=True
                        ),
                    },
                ),
            ),
            "nearest_missing": string(
                "Why there are no nearest rows, or fewer; null where nothing is missing.", null=True
            ),
            "tokens": whole("Tokens read for the explanation, part of the usage."),
            "ms": whole("Milliseconds that the whole answer took to compute."),
        },
    ),
)
