"""What `/v1/fine_tuning/jobs` answers, field by field, for the API reference."""

from kit.schema import (
    Schema,
    component,
    either,
    many,
    mapping,
    moment,
    number,
    one_of,
    page_of,
    string,
    thing,
    truth,
    whole,
)
from registry.bases import METHODS as TASKS
from training import states
from training.methods import METHODS, RANK
from training.scheduling.fairness import LANES
from training.selectors.events import SERIES
from training.selectors.queue import REASONS
from training.serializers import PRIORITIES

WIRE_STATES = ("validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled")


def _knob(words: str, kind: str) -> Schema:
    return either(words, {"type": kind}, {"type": "string", "enum": ["auto"]}, example="auto")


_KNOBS = thing(
    "The hyperparameters asked for.",
    {
        "n_epochs": _knob("Passes over the training rows; `auto` stops when validation no longer improves.", "integer"),
        "batch_size": _knob("Rows in a step.", "integer"),
        "learning_rate_multiplier": _knob("Times the method's own learning rate.", "number"),
        RANK: _knob("Rank of the adapters; `auto` is 8. Only where the method is `lora`.", "integer"),
    },
    optional=[RANK],
)
_RANGE = {"low": number("The least."), "high": number("The most.")}


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


JOB = component(
    "FineTuningJob",
    thing(
        "A fine-tuning job.",
        {
            "id": string("The job's id.", example="ftjob-01m8hy7w6efpgtqsg2dw7z90zk"),
            "object": one_of("Always `fine_tuning.job`.", ["fine_tuning.job"]),
            "created_at": moment("When it was created."),
            "finished_at": moment("When it ended; null until then.", null=True),
            "estimated_finish": moment("When it is expected to end; null where nobody can say.", null=True),
            "model": string("The base that is tuned.", example="all-MiniLM-L6-v2"),
            "fine_tuned_model": string(
                "The model's name, once the job succeeded; null otherwise.",
                null=True,
                example="ft:all-MiniLM-L6-v2:acme:support:dw7z90zk",
            ),
            "organization_id": string("The organisation it belongs to."),
            "status": one_of("Where it stands, in the official client's words.", WIRE_STATES),
            "training_file": string("The file or dataset version it trains on, as it was named.", null=True),
            "validation_file": string(
                "The file it is validated on; null where a part of the training rows is.", null=True
            ),
            "result_files": many("Files the job wrote: one CSV with a row per step.", string("A file's id.")),
            "trained_tokens": whole("Tokens trained on and paid for, once it succeeded; null otherwise.", null=True),
            "seed": whole("The seed it runs with."),
            "hyperparameters": _KNOBS,
            "method": thing(
                "How it is tuned.",
                {
                    "type": one_of("The one kind there is.", ["supervised"]),
                    "supervised": thing("Its settings.", {"hyperparameters": _KNOBS}),
                },
            ),
            "error": thing(
                "Why it failed; null otherwise.",
                {
                    "code": string("A stable name of the fault."),
                    "message": string("What happened and what to do."),
                    "param": string("The field of the create that is at fault; null where none is.", null=True),
                },
                null=True,
            ),
            "integrations": many("Always empty: none is offered.", mapping("An integration.")),
            "metadata": mapping("The pairs given at the create; null where none were.", string("A value."), null=True),
            "x_task": one_of("The task family.", list(TASKS)),
            "x_method": one_of("What is trained: all weights, a LoRA adapter, or the head alone.", METHODS),
            "x_columns": mapping(
                "The columns named at the create, role to column; null where none were.", string("A column."), null=True
            ),
            "x_state": one_of("Where it stands, more finely than `status`.", states.ALL),
            "x_phase": string(
                "What the trainer is doing now, such as `training` or `saving`; null before it runs.", null=True
            ),
            "x_progress": number("The share done, 0 to 1."),
            "x_step": whole("Steps done."),
            "x_total_steps": whole("Steps planned; early stopping may need fewer."),
            "x_eta_seconds": whole("Seconds to the end as far as anybody knows; null where nobody does.", null=True),
            "x_queue": thing(
                "Why it waits; null when it does not.",
                {
                    "position": whole("Its place in the queue, from 1.", null=True),
                    "reason": one_of(
                        "What it waits for: a place (`resources`), others whose turn is first (`priority`), one of its "
                        "own to end (`tenant_limit`), the next try (`not_before`), a worker (`no_workers`), or one of "
                        "the plan's class (`no_place`).",
                        REASONS,
                    ),
                    "seconds": thing(
                        "How long it will likely wait, from how far estimates have been off.",
                        {
                            "p50": whole("In half of such cases; null where nobody can say.", null=True),
                            "p90": whole("In nine of ten; null where nobody can say.", null=True),
                        },
                    ),
                },
                null=True,
            ),
            "x_gpus": whole("Places of one machine it trains on."),
            "x_lane": one_of("Its lane in the queue.", LANES),
            "x_priority": one_of("Its place among the organisation's own jobs.", list(PRIORITIES)),
            "x_blocked_by": one_of("Why it is paused; null when it is not.", states.BLOCKS, null=True),
            "x_attempt": whole("Which try is running or ran last; a lost worker's job goes on in another one."),
            "x_deploy": truth("Whether the model is deployed when its report passes the gate."),
            "x_email_on_end": truth(
                "Whether somebody gets an e-mail when it has ended, or stands still and needs them."
            ),
            "x_dataset_version": string("The immutable version it trains on; null until it is written.", null=True),
            "x_sweep": string("The sweep it is a trial of; null where it is none.", null=True),
            "x_price_usd": number("What it cost so far, or in the end; US dollars."),
            "x_price": thing(
                "The estimate made when it was queued, in US dollars; null before.",
                {**_RANGE, "ceiling": number("What it cannot cost more than.")},
                null=True,
            ),
            "x_report": string("Path of the report once it succeeded; null otherwise.", null=True),
        },
    ),
)
JOBS = page_of(JOB, "Jobs.")
ESTIMATE = thing(
    "What such a job would cost. Nothing is created, reserved or charged.",
    {
        "object": one_of("Always `fine_tuning.estimate`.", ["fine_tuning.estimate"]),
        "tokens": whole("Tokens at most trained on, all passes together."),
        "price_usd": thing(
            "US dollars; null where something blocks training.",
            {
                "low": number("If it stops as early as it can."),
                "high": number("If it makes every pass."),
                "ceiling": number("What it cannot cost more than: `x_max_price_usd`, or the high estimate."),
            },
            null=True,
        ),
        "seconds": thing(
            "Time of the run itself; null where something blocks training.",
            {"low": whole("The least."), "high": whole("The most.")},
            null=True,
        ),
        "queue_seconds": whole("Seconds it would wait first; null where nobody can say.", null=True),
        "findings": thing(
            "Kinds of problems in the data, by level.",
            {
                "blocking": whole("Kinds for which the job would be refused."),
                "warning": whole("Kinds worth mending first."),
                "note": whole("Kinds worth knowing."),
            },
        ),
        "x_epochs": whole("Passes planned at most."),
        "x_rows": whole("Rows that would be used."),
        "x_labels": whole("Labels."),
        "x_max_length": whole("Tokens read of one text."),
        "x_cut_rows": whole("Rows longer than that, which would be cut."),
        "x_blocking": many(
            "What blocks training, where something does: code, message, hint, fix, rows.", mapping("A finding.")
        ),
    },
    optional=("x_epochs", "x_rows", "x_labels", "x_max_length", "x_cut_rows", "x_blocking"),
)
EVENT = component(
    "FineTuningEvent",
    thing(
        "Something that happened in a job.",
        {
            "id": string("The event's id."),
            "object": one_of("Always `fine_tuning.job.event`.", ["fine_tuning.job.event"]),
            "created_at": moment("When."),
            "level": one_of("How grave it is.", ["info", "warn", "error"]),
            "message": string("What happened, in a sentence."),
            "type": one_of("`metrics` where `data` holds numbers of a step.", ["message", "metrics"]),
            "data": mapping(
                "For metrics: `step`, `total_steps`, `train_loss`, `valid_loss`, `valid_macro_f1`, and others."
            ),
            "x_seq": whole("Its number in the job, without gaps."),
            "x_code": string("A stable name of the kind of event; null for metrics.", null=True),
        },
    ),
)
EVENTS = page_of(EVENT, "Events.")
CHECKPOINT = component(
    "FineTuningCheckpoint",
    thing(
        "A state the job can resume from.",
        {
            "id": string("The checkpoint's id."),
            "object": one_of("Always `fine_tuning.job.checkpoint`.", ["fine_tuning.job.checkpoint"]),
            "created_at": moment("When it was recorded."),
            "fine_tuned_model_checkpoint": string("A name for it: the model's, and the step. It cannot be deployed."),
            "fine_tuning_job_id": string("The job."),
            "step_number": whole("The step it was taken at."),
            "metrics": mapping("`step`, and the last losses and validation figures.", number("A figure.")),
            "x_size_bytes": whole("Its size in storage."),
            "x_kept": truth("Whether its files are still there; older ones are removed."),
        },
    ),
)
CHECKPOINTS = page_of(CHECKPOINT, "Checkpoints.")
METRICS = thing(
    "The numbers behind a job's charts.",
    {
        "object": one_of("Always `fine_tuning.job.metrics`.", ["fine_tuning.job.metrics"]),
        "series": mapping(
            f"Each series by its name ({', '.join(SERIES)}), at most 2,000 points with their extremes kept.",
            many(
                "Points.",
                many(
                    "`[step, value]`; the value is null where it was no number.", {"type": "number", "nullable": True}
                ),
            ),
        ),
    },
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
                "hardest")  # fmt: skip
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
