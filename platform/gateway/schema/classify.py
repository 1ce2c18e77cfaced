"""Labels of texts: `/v1/classify`."""

from __future__ import annotations

from gateway.honest_schema import ABSTENTION, EXPLANATION, REASON, WISHES
from gateway.schema.base import ANSWERED, MODEL, PLENTY, TEXTS, USER, path, probability
from kit.schema import many, one_of, string, thing, whole

_RANKED = many(
    "Labels, the likeliest first.",
    thing("A label.", {"label": string("Its name."), "probability": probability("How likely it is.")}),
)
CLASSIFY = path(
    "classify",
    "Classify texts",
    "The probability of every label of a deployed classifier, likeliest first. A text over the model's limit is cut, "
    "and `x_truncated_tokens` says by how much.",
    thing(
        "What to classify.",
        {
            "model": MODEL,
            "input": TEXTS,
            "top_k": whole("Only this many labels; all without it.", null=True, minimum=1, maximum=10_000, example=3),
            "user": USER,
            **WISHES,
        },
        optional=("top_k", "user", *WISHES),
    ),
    thing(
        "One prediction per text.",
        {
            "object": one_of("Always `list`.", ["list"]),
            "model": ANSWERED,
            "data": many(
                "Predictions, in the order of the texts.",
                thing(
                    "The prediction for one text.",
                    {
                        "index": whole("The text's place in `input`, from 0."),
                        "label": string(
                            "The likeliest label; null where the model abstains.", null=True, example="refund_status"
                        ),
                        "confidence": probability("How likely it is."),
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
                {"input_tokens": whole("Tokens read."), "total_tokens": whole("The same."), **PLENTY},
                optional=tuple(PLENTY),
            ),
            "x_abstain": ABSTENTION,
        },
        optional=("x_abstain",),
    ),
)
