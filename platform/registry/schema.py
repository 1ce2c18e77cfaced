"""What `/v1/models` answers, field by field, for the API reference."""

from kit.schema import component, deleted, many, mapping, moment, one_of, string, thing, whole

METHODS = ("full", "lora", "head")
_BASE_ONLY = ("x_methods", "x_max_length", "x_parameters", "x_licence", "x_sha256")
_TUNED_ONLY = (
    "x_state",
    "x_base",
    "x_aliases",
    "x_version",
    "x_method",
    "x_labels",
    "x_metrics",
    "x_size_bytes",
    "x_artefact_sha256",
    "x_job",
    "x_dataset_version",
)
MODEL = component(
    "Model",
    thing(
        "A base that may be tuned, or a model of the project.",
        {
            "id": string("The model's name.", example="ft:all-MiniLM-L6-v2:acme:support:dw7z90zk"),
            "object": one_of("Always `model`.", ["model"]),
            "created": moment("When it was made; of a base, when it was published."),
            "owned_by": string("The organisation that made it; `tunesmith` for bases."),
            "x_kind": one_of("`base` may be tuned; `tuned` is the project's own.", ["base", "tuned"]),
            "x_tasks": many("What it can be tuned for, or was tuned for.", string("A task.")),
            "x_methods": many("Bases: how it can be tuned.", one_of("A method.", METHODS)),
            "x_max_length": whole(
                "Bases: tokens it reads of one text; of one that writes, prompt and answer together."
            ),
            "x_parameters": whole("Bases: how many weights it has."),
            "x_licence": string("Bases: the licence it comes under."),
            "x_sha256": string("Bases: hash of its files."),
            "x_state": one_of(
                "Tuned: `ready` to be deployed, or what its last deployment is.",
                ["ready", "loading", "live", "stopped", "failed"],
            ),
            "x_base": string("Tuned: the base it was made from."),
            "x_aliases": many("Tuned: names that point at it, such as `triage@prod`.", string("An alias.")),
            "x_version": whole("Tuned: number of its newest version."),
            "x_method": one_of("Tuned: what was trained.", METHODS),
            "x_labels": whole("Tuned: how many labels it knows; 0 where it writes text."),
            "x_metrics": mapping("Tuned: the main figures of its report, and whether it passed the gate."),
            "x_size_bytes": whole("Tuned: size of its own weights."),
            "x_artefact_sha256": string("Tuned: hash of its own weights."),
            "x_job": string("Tuned: the job that made it.", null=True),
            "x_dataset_version": string("Tuned: the dataset version it was trained on.", null=True),
        },
        optional=(*_BASE_ONLY, *_TUNED_ONLY),
    ),
)
MODELS = thing(
    "All models, on one page.",
    {"object": one_of("Always `list`.", ["list"]), "data": many("Bases first, then the project's own.", MODEL)},
)
MODEL_DELETED = deleted("model", "The model is gone; usage and bills stay.")
