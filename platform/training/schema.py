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
            "x_price_usd": number("What it cost so far, or in the end."),
            "x_price": thing(
                "The estimate made when it was queued, in the organisation's currency; null before.",
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
            "The price; null where something blocks training.",
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
