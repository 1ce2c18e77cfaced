"""What `/v1/files`, `/v1/uploads` and `/v1/datasets` answer, field by field, for the API reference."""

from data.fixes import STEPS
from data.limits import PART_BYTES
from data.models import WRITTEN, DatasetVersion, File, Purpose, Upload
from kit.schema import (
    component,
    deleted,
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

TASKS = ("text-classification", "chat", "prompt-completion")
LEVELS = ("blocking", "warning", "note")
SPLITS = ("train", "validation", "test")

FILE_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": string(
            "The bytes, with a file name. CSV, TSV, JSONL or Parquet; the kind is read off the content, not the name.",
            format="binary",
        ),
        "purpose": one_of(
            "What the file is for: `fine-tune` to train on, `evals` to measure with, `batch` for the calls of a batch.",
            Purpose.values,
        ),
        "expires_after[anchor]": one_of("What the life of the file counts from.", ["created_at"]),
        "expires_after[seconds]": whole(
            "Seconds after the anchor at which the file is deleted, 3,600 to 2,592,000. Without it the file stays.",
            example=86_400,
        ),
    },
}
PART_FORM = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": string(f"The part's bytes, at most {PART_BYTES:,}.", format="binary")},
}

_LENGTHS = mapping(
    "By unit (`words`, `tokens`, `characters`): n, min, max, mean, total, percentiles and a histogram of the texts' "
    "lengths."
)
_COUNTS = mapping("Rows by kind of duplicate: `exact`, `near` and `conflicting` (same text, another label).")
_FILE_FIELDS = {
    "id": string("The file's id.", example="file-01m8hy7p6vf029ew0921mqrwgt"),
    "object": one_of("Always `file`.", ["file"]),
    "bytes": whole("Its size.", example=159_482),
    "created_at": moment("When it was uploaded."),
    "filename": string("The name it came with, without folders.", example="support_intents.csv"),
    "purpose": one_of("What it is for. Jobs and batches write files of the last kinds.", [*Purpose.values, *WRITTEN]),
    "status": one_of(
        "`uploaded` while it is being checked, `processed` once its findings stand, `error` where no rows could be "
        "read.",
        File.Status.values,
    ),
    "status_details": string("Why it could not be read; null otherwise.", null=True),
    "expires_at": {**moment("When it will be deleted; null where it stays.", null=True)},
    "x_sha256": string("SHA-256 of the bytes, in hex."),
    "x_task": one_of("What its columns are fit to train; null until it was checked.", TASKS, null=True),
    "x_rows": whole("Rows in it, headers not counted; 0 until it was checked."),
    "x_format": string("How it was read: csv, tsv, jsonl or parquet; null until it was checked.", null=True),
    "x_columns": many(
        "Every column, with the role it was taken for.",
        thing(
            "A column.",
            {
                "column": string("Its name in the file."),
                "role": string(
                    "The role guessed: text, label, messages, prompt, completion, …; null for none.", null=True
                ),
                "confidence": number("How sure the guess is, 0 to 1."),
                "reason": string("What the guess rests on."),
            },
        ),
    ),
    "x_roles": mapping(
        "The roles in force, role to column: as guessed, or as a person chose them.",
        string("A column."),
        example={"text": "text", "label": "label"},
    ),
    "x_findings": thing(
        "How many kinds of problems were found, by level.",
        {
            "blocking": whole("Kinds that stop training."),
            "warning": whole("Kinds worth mending."),
            "note": whole("Kinds worth knowing."),
        },
    ),
}
_PROFILE = thing(
    "What the rows are like; null until the file was checked.",
    {
        "rows": whole("Rows in the file."),
        "usable_rows": whole("Rows with everything training needs."),
        "task": string("What its columns are fit to train."),
        "labels": many(
            "Labels, the most frequent first.",
            thing("A label.", {"label": string("Its name."), "count": whole("Rows that have it.")}),
        ),
        "label_count": whole("How many labels there are."),
        "lengths": _LENGTHS,
        "duplicates": _COUNTS,
        "max_length": whole("Tokens the default base reads of one text; the rest of a longer one is cut."),
    },
    null=True,
    optional=("labels", "label_count", "duplicates", "task", "usable_rows", "max_length", "lengths", "rows"),
)
FILE = component("File", thing("An uploaded file and what was found in it.", _FILE_FIELDS))
FILE_WHOLE = component(
    "FileWithProfile",
    thing("An uploaded file, what was found in it, and its profile.", {**_FILE_FIELDS, "x_profile": _PROFILE}),
)
FILES = page_of(FILE, "Files.")
FILE_DELETED = deleted("file", "The file is gone.")

FINDING = component(
    "Finding",
    thing(
        "One kind of problem in a file.",
        {
            "id": string("Its id; a cursor of the list."),
            "object": one_of("Always `file.finding`.", ["file.finding"]),
            "code": string("A stable name of the problem.", example="exact_duplicates"),
            "level": one_of("`blocking` stops training, `warning` costs quality, `note` is worth knowing.", LEVELS),
            "title": string("The problem in two or three words."),
            "message": string("What was found, with numbers."),
            "expected": string("What the rows should look like; empty where nothing is to be expected."),
            "hint": string("What to do about it."),
            "fix": one_of(
                "The fix that mends it, for `fixes` of a dataset; empty or null where only the source can be mended.",
                [*STEPS, ""],
                null=True,
            ),
            "count": whole("Rows it concerns."),
            "rows": many("Their numbers in the file as uploaded, the first thousand.", whole("A row, from 1.")),
            "rows_complete": truth("Whether `rows` names all of them."),
            "samples": many(
                "A few of the rows, shortened.",
                thing(
                    "A row.",
                    {
                        "row": whole("Its number, from 1, headers not counted.", null=True),
                        "line": whole("The line of the file it begins on.", null=True),
                        "snippet": string("A piece of it."),
                    },
                    optional=("row", "line", "snippet"),
                ),
            ),
            "params": mapping("The numbers and names in the message, by name."),
        },
    ),
)
FINDINGS = page_of(
    FINDING,
    "Findings.",
    file_id=string("The file they belong to."),
    status=one_of("The file's status: while `uploaded`, more may follow.", File.Status.values),
)

UPLOAD = component(
    "Upload",
    thing(
        "A file that comes in parts.",
        {
            "id": string("The upload's id."),
            "object": one_of("Always `upload`.", ["upload"]),
            "bytes": whole("The size announced; the parts must add up to it."),
            "created_at": moment("When it was announced."),
            "expires_at": moment(
                "When an upload not completed by then is thrown away, an hour after it was announced."
            ),
            "filename": string("The file's name to be."),
            "purpose": one_of("What the file is for.", Purpose.values),
            "status": one_of("Where it stands; only a `pending` one takes parts.", Upload.Status.values),
            "file": {"allOf": [FILE], "nullable": True, "description": "The file made of it; null until completed."},
        },
    ),
)
PART = thing(
    "A part received.",
    {
        "id": string("The part's id, for `part_ids` of the completion."),
        "object": one_of("Always `upload.part`.", ["upload.part"]),
        "created_at": moment("When it came."),
        "upload_id": string("The upload it belongs to."),
    },
)

VERSION = component(
    "DatasetVersion",
    thing(
        "An immutable version of a dataset: the rows a job trains on, with where they come from.",
        {
            "id": string(
                "The version's id; a job takes it as `training_file`.", example="dsv_01m8hyf81gfegsbgpdc6vb9fnc"
            ),
            "object": one_of("Always `dataset.version`.", ["dataset.version"]),
            "dataset_id": string("The dataset it is a version of."),
            "number": whole("Its number in the dataset, from 1."),
            "parent_id": string("The version it was made from; null for the first.", null=True),
            "created_at": moment("When it was asked for."),
            "ready_at": moment("When it was written; null until then.", null=True),
            "task": one_of("What its rows are fit to train.", TASKS),
            "state": one_of("`building`, then `ready` or `failed`.", DatasetVersion.State.values),
            "error": mapping("Why writing failed, with `code` and `message`; null otherwise.", null=True),
            "files": many(
                "The files it is made of, in order.",
                thing(
                    "A file.",
                    {
                        "file_id": string("Its id."),
                        "sha256": string("SHA-256 of its bytes."),
                        "split": one_of(
                            "The split all its rows go to; null where they are dealt out.", SPLITS, null=True
                        ),
                    },
                ),
            ),
            "columns": mapping("Role to column of the first file.", string("A column.")),
            "fixes": many(
                "The fixes applied, in the order of their effect.",
                mapping("A fix: `fix` is its name; `merge_labels` has `labels`, old name to new."),
            ),
            "seed": whole("The seed of the split; the same seed and rows give the same split."),
            "split": mapping("Shares of `validation` and `test`.", number("A share, 0 to 0.9.")),
            "rows": whole("Rows in it."),
            "bytes": whole("Its size in storage."),
            "tokens": whole(
                "Tokens of all its texts by the default base's tokenizer; null until it is ready.", null=True
            ),
            "content_sha256": string(
                "SHA-256 over its rows; equal content has equal hashes. Null until it is ready.", null=True
            ),
            "labels": mapping("Rows by label.", whole("Rows.")),
            "splits": mapping("Rows by split.", whole("Rows.")),
            "dropped": mapping("Rows left out, by the fix or problem that dropped them.", whole("Rows.")),
            "profile": mapping("Lengths, duplicates and the base's reading length; null until it is ready.", null=True),
        },
    ),
)
DATASET = component(
    "Dataset",
    thing(
        "A named collection with its newest version.",
        {
            "id": string("The dataset's id.", example="ds_01m8hyf80efg5saen50fdzgbcy"),
            "object": one_of("Always `dataset`.", ["dataset"]),
            "name": string("Its name; the first file's where none was given."),
            "created_at": moment("When it was made."),
            "version": {"allOf": [VERSION], "nullable": True, "description": "Its newest version."},
        },
    ),
)
DATASETS = page_of(DATASET, "Datasets.")
DATASET_DELETED = deleted("dataset", "The dataset is hidden; its versions keep their place in the lineage of models.")
VERSIONS = page_of(VERSION, "Versions.")
ROWS = thing(
    "One page of rows.",
    {
        "object": one_of("Always `list`.", ["list"]),
        "data": many(
            "Rows.",
            thing(
                "A row, with the columns of its task.",
                {
                    "row_id": whole("Its number in the version."),
                    "text": string("The text (text-classification)."),
                    "label": string("The label (text-classification)."),
                    "messages": string("The conversation as JSON (chat)."),
                    "tools": string("The tools as JSON (chat); null where there are none.", null=True),
                    "prompt": string("The prompt (prompt-completion)."),
                    "completion": string("The completion (prompt-completion)."),
                    "split": one_of("The split it belongs to.", SPLITS),
                },
                optional=("text", "label", "messages", "tools", "prompt", "completion"),
            ),
        ),
        "has_more": truth("Whether there are more."),
        "last_id": whole("The next page's `after`; null on the last page.", null=True),
    },
)
