"""What `/v1/fine_tuning/sweeps` answers, field by field, for the API reference."""

from kit.schema import component, many, mapping, moment, number, one_of, page_of, string, thing, truth, whole
from training.models import Sweep
from training.scheduling.fairness import LANES
from training.schema import WIRE_STATES
from training.searching.rules import ENDINGS
from training.searching.space import STRATEGIES

_RANGE = {"low": number("The least."), "high": number("The most.")}
_RUNGS = many(
    "One rung, or with `halving` several.",
    thing(
        "A rung.",
        {
            "trials": whole("Trials in it, at most."),
            "n_epochs": whole("Passes of each; null where the setting says.", null=True),
        },
    ),
)
_TRIAL = {
    "id": string("The trial's id: it is a job, and every route of jobs takes it."),
    "object": one_of("Always `fine_tuning.sweep.trial`.", ["fine_tuning.sweep.trial"]),
    "created_at": moment("When it was started."),
    "finished_at": moment("When it ended; null until then.", null=True),
    "sweep": string("The sweep."),
    "number": whole("Which setting it tries, from 1."),
    "rung": whole("In which rung, from 1."),
    "setting": mapping(
        "`x_method`, `n_epochs`, `batch_size`, `learning_rate_multiplier`, and for `lora` `x_lora_rank`: as its job "
        "has them."
    ),
    "status": one_of("Where it stands.", WIRE_STATES),
    "score": number("Its best macro-F1 on the validation rows; null unless it succeeded.", null=True),
    "fine_tuned_model": string("The model it made; null otherwise.", null=True),
    "price_usd": number("What it cost; while it runs, what it has cost so far."),
    "ceiling_usd": number("What it may cost; 0 until its data are checked."),
}
TRIAL = component("FineTuningSweepTrial", thing("One setting of a sweep, tried.", _TRIAL))
TRIALS = page_of(TRIAL, "Trials.")
SWEEP = component(
    "FineTuningSweep",
    thing(
        "Several settings tried on the same data within one budget.",
        {
            "id": string("The sweep's id.", example="sweep_01m8hy7w6efpgtqsg2dw7z90zk"),
            "object": one_of("Always `fine_tuning.sweep`.", ["fine_tuning.sweep"]),
            "created_at": moment("When it was created."),
            "finished_at": moment("When it ended; null until then.", null=True),
            "name": string("What its trials' names begin with."),
            "model": string("The base that is tuned.", example="all-MiniLM-L6-v2"),
            "status": one_of("Where it stands.", Sweep.State.values),
            "ended_because": one_of(
                "All trials are through (`complete`), the next one did not fit into the budget (`budget`), a spend "
                "limit of the project or organisation refused a trial (`spend_limit`), or a trial could not be started "
                "(`refused`). Null while it runs, and where it was cancelled or failed before its first trial.",
                ENDINGS,
                null=True,
            ),
            "strategy": one_of("How settings are chosen.", STRATEGIES),
            "space": mapping("What is tried: each axis a list, or a range with `min`, `max` and `scale`."),
            "trials": whole("The limit of settings asked for."),
            "max_epochs": whole("With `halving`, the passes of the last rung; null otherwise.", null=True),
            "parallel": whole("Trials open at once, at most."),
            "seed": whole("Draws the settings, and is every trial's own seed."),
            "metric": thing(
                "What trials are compared by.",
                {
                    "name": one_of("Every label counts the same.", ["macro_f1"]),
                    "split": one_of("Never the test rows: they measure the winner, once.", ["validation"]),
                },
            ),
            "training_file": string("The file or dataset version it trains on, as it was named.", null=True),
            "validation_file": string("The file it compares on; null where a part of the rows is.", null=True),
            "metadata": mapping("The pairs given at the create; null where none were.", string("A value."), null=True),
            "rungs": _RUNGS,
            "progress": thing(
                "How far it is, in trials.",
                {
                    "planned": whole("All of them, over all rungs."),
                    "started": whole("Started so far."),
                    "open": whole("Waiting or running."),
                    "succeeded": whole("Ended with a model."),
                    "failed": whole("Ended without one; free of charge."),
                    "cancelled": whole("Cancelled; free of charge."),
                },
            ),
            "price_usd": thing(
                "Its money. `spent` and `reserved` together never pass `budget`.",
                {
                    "budget": number("What all trials may cost; null until its data are read.", null=True),
                    "spent": number("What ended trials cost."),
                    "reserved": number("What open trials may cost at most."),
                },
            ),
            "winner": thing("The best trial so far, or of all once it ended; null without one.", _TRIAL, null=True),
            "error": thing(
                "Why it failed, or could not go on; null otherwise.",
                {
                    "code": string("A stable name of the fault."),
                    "message": string("What happened and what to do."),
                    "param": string("The field of the create that is at fault; null where none is.", null=True),
                },
                null=True,
            ),
            "x_columns": mapping("Columns named at the create; null where none were.", string("A column."), null=True),
            "x_lane": one_of("The lane of every trial.", LANES),
            "x_gpus": whole("Places of one machine that each trial trains on."),
            "x_email_on_end": truth("Whether somebody gets an e-mail when it has ended."),
            "x_dataset_version": string(
                "The version that every trial trains and is compared on; null until the data are read.", null=True
            ),
        },
    ),
)
LOSERS = component(
    "FineTuningSweepLosers",
    thing(
        "The models of an ended sweep's trials that have not won; those that were named or ever deployed are not among "
        "them.",
        {
            "object": one_of("Always `fine_tuning.sweep.losers`.", ["fine_tuning.sweep.losers"]),
            "sweep": string("The sweep."),
            "models": many("Their names; none while the sweep is open.", string("A model's name.")),
            "bytes": whole("Size of their weights together."),
            "deleted": truth("Whether they are deleted now."),
        },
    ),
)
SWEEPS = page_of(SWEEP, "Sweeps.")
ESTIMATE = component(
    "FineTuningSweepEstimate",
    thing(
        "What a sweep would try and cost.",
        {
            "object": one_of("Always `fine_tuning.sweep.estimate`.", ["fine_tuning.sweep.estimate"]),
            "settings": whole("Settings to try; fewer than asked for where the space holds no more."),
            "trials": whole("Trials over all rungs."),
            "rungs": _RUNGS,
            "findings": mapping("Findings in the data by level.", whole("How many.")),
            "queue_seconds": whole("Seconds until the first trial would start; null where nobody can say.", null=True),
            "price_usd": thing(
                "The price of all trials; null where blocking findings keep it from running.",
                {**_RANGE, "ceiling": number("The budget: never exceeded.")},
                null=True,
            ),
            "seconds": thing(
                "Time for all trials: side by side on idle machines, or one after the other.", _RANGE, null=True
            ),
            "x_covers_all": truth("Whether the budget pays for every trial even at the upper end."),
            "x_blocking": many("The blocking findings, where there are any.", mapping("A finding.")),
        },
        optional=["x_covers_all", "x_blocking"],
    ),
)
