"""What the report of a fine-tuning job holds, field by field, for the API reference."""

from kit.schema import Schema, component, many, mapping, number, one_of, string, thing, truth, whole


def _figure(words: str, *, null: bool = False) -> Schema:
    return thing(
        words,
        {
            "value": number("The figure on the test rows."),
            "low": number("Lower end of its 95 % interval."),
            "high": number("Upper end."),
            "n": whole("Test rows it rests on."),
        },
        null=null,
    )


_MISTAKE = thing(
    "A test row that the model got wrong.",
    {
        "row_id": whole("The row in the dataset version."),
        "text": string("Its text."),
        "label": string("Its label."),
        "predicted": string("What the model said."),
        "confidence": number("How sure it was."),
    },
)
_CLASS = thing(
    "A label.",
    {
        "label": string("Its name."),
        "n": whole("Test rows that have it."),
        "precision": number("Of the rows given this label, the share that have it."),
        "recall": number("Of the rows that have it, the share found."),
        "f1": number("Their harmonic mean."),
        "f1_low": number("Lower end of its 95 % interval."),
        "f1_high": number("Upper end."),
    },
)
_BIN = thing(
    "A range of confidence.",
    {
        "low": number("From."),
        "high": number("To."),
        "n": whole("Test rows in it."),
        "confidence": number("Their mean confidence."),
        "accuracy": number("The share that was right."),
    },
)
_TEST = {
    "accuracy": _figure("Share of rows that were right."),
    "macro_f1": _figure("F1, every label counting the same."),
    "micro_f1": _figure("F1, every row counting the same: equal to accuracy where each row has one label."),
    "ece": _figure("Expected calibration error: how far confidence is from accuracy."),
    "log_loss": _figure("Mean negative log probability of the right label."),
    "brier": _figure("Mean squared distance of the probabilities from the truth."),
    "loss": _figure("Text generation: mean negative log probability of a reply's token, in nats."),
    "perplexity": _figure("Text generation: the exponential of the loss."),
    "token_accuracy": _figure("Text generation: share of reply tokens that were the likeliest."),
    "tokens": whole("Text generation: reply tokens of the test rows."),
}
_CHOSEN = thing(
    "The threshold to act above, and what it does on the test rows; null where the validation rows lack the label.",
    {
        "threshold": number("Act on probabilities of at least this."),
        "precision": number("The share right among the rows acted on; null where no test row reaches it.", null=True),
        "recall": number("The share found."),
        "from": one_of("`validation`: the best F1 on the validation rows; `usual`: 0.5.", ["validation", "usual"]),
    },
    null=True,
)
_THRESHOLD = thing(
    "A threshold of the likeliest label's probability.",
    {
        "threshold": number("Answer where the probability is at least this."),
        "n": whole("Test rows that reach it."),
        "right": whole("Of those, the ones that are right."),
        "precision": number("Their share; null where no row reaches it.", null=True),
        "at_least": number("The precision that is certain enough to be promised."),
        "coverage": number("The share of all test rows that reach it."),
    },
)
_CURVE = {
    "n": whole("Rows to be found: those with the label, or all."),
    "average_precision": _figure("The area under the curve; null where there is no such row.", null=True),
    "chosen": _CHOSEN,
    "steps": whole("Points of the whole curve."),
    "points": many(
        "`[threshold, precision, recall]`, at most 60 with both ends and the extremes among them.",
        many("A point.", number("A share.")),
    ),
}
_BASELINE = {
    "name": string("What it is."),
    "accuracy": _figure("Its accuracy."),
    "macro_f1": _figure("Its macro-F1."),
    "accuracy_difference": _figure("The model's accuracy less the baseline's, paired by row."),
    "macro_f1_difference": _figure("The same for macro-F1."),
    "loss": _figure("Text generation: the untuned base's loss on the same rows."),
    "perplexity": _figure("Text generation: its perplexity."),
    "token_accuracy": _figure("Text generation: its token accuracy."),
    "loss_difference": _figure("Text generation: the base's loss less the model's, paired by row."),
}
_HARD = thing(
    "A test row that the model finds hard.",
    {
        "row_id": whole("Its row, as uploaded."),
        "text": string("The end of what was read."),
        "loss": number("Its loss per reply token."),
        "baseline_loss": number("The untuned base's."),
        "tokens": whole("Its reply tokens."),
    },
)
_OF_ONE_TASK = ("per_class", "confusion", "pr", "confused", "calibration", "errors", "errors_by_class", "error_count",
                "hardest", "abstention")  # fmt: skip
REPORT = component(
    "Report",
    thing(
        "How good the model is on rows it never saw, beside a cheap baseline: a linear classifier trained on the same "
        "rows, or the untuned base of a model that writes, whose report lacks the parts that only a classifier has.",
        {
            "format": whole("The report's format; keys may be added to one, none changes its meaning."),
            "task": string("The task family."),
            "labels": many("The labels, in the order of the confusion matrix.", string("A label.")),
            "n": mapping("Rows by split.", whole("Rows.")),
            "test": thing("Figures on the test rows.", _TEST, optional=tuple(_TEST)),
            "per_class": many("Figures by label.", _CLASS),
            "confusion": many(
                "Rows by true label (outer) and predicted label (inner).", many("Counts.", whole("Rows."))
            ),
            "pr": thing(
                "Precision–recall curves. Reports made before there were any lack them.",
                {
                    "answers": thing("Of the answers: is the likeliest label right?", _CURVE),
                    "classes": many(
                        "Of each label, in their order.",
                        thing("Is it this label?", {"label": string("The label."), **_CURVE}),
                    ),
                    "interval": mapping("How the intervals of these areas were made: level, method."),
                },
            ),
            "abstention": thing(
                "What answering only above a threshold promises, for `x_abstain`. Reports made before there was any "
                "lack it.",
                {
                    "confidence": number("How sure it is that all the bounds hold, together: 0.95."),
                    "method": string("How they were made: `clopper-pearson`, shared among the thresholds."),
                    "n": whole("Test rows, which had no part in choosing the thresholds."),
                    "points": many("Thresholds, the lowest first.", _THRESHOLD),
                },
            ),
            "confused": many(
                "The pairs most often confused.",
                thing(
                    "A pair.",
                    {"label": string("The true label."), "predicted": string("What was said."), "n": whole("Rows.")},
                ),
            ),
            "calibration": thing(
                "Whether confidence means what it says.",
                {
                    "temperature": number("What the scores are divided by, fitted on the validation rows."),
                    "bins": many("The reliability diagram.", _BIN),
                },
            ),
            "baseline": thing(
                "TF-IDF with a linear classifier on the same rows, or the untuned base.",
                _BASELINE,
                optional=tuple(_BASELINE),
            ),
            "verdict": mapping(
                "The comparison in one line: `metric`, `better_by` with `low` and `high`, `text_code`, `n`."
            ),
            "gate": thing(
                "Whether the model is good enough to go live by itself.",
                {
                    "passed": truth("Whether it is."),
                    "reasons": many("Why, or why not.", mapping("A reason, with `code` and `message`.")),
                },
            ),
            "errors": many("The mistakes worth reading first: the surest ones.", _MISTAKE),
            "errors_by_class": mapping(
                "Up to five of the surest mistakes of each label that has any, by the label the rows have.",
                many("Mistakes.", _MISTAKE),
            ),
            "error_count": whole("Test rows that were wrong."),
            "hardest": many("Text generation: the test rows with the highest loss.", _HARD),
            "training": mapping("How it was trained: base, method, seed, steps, tokens, seconds, device, precision, …"),
            "limits": many(
                "What the figures cannot tell, such as labels with few test rows.",
                mapping("A limit, with `code` and `message`."),
            ),
            "interval": mapping("How the intervals were made: level, method, resamples, seed."),
        },
        optional=_OF_ONE_TASK,
    ),
)
