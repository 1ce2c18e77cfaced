"""What `/v1/batches` answers, field by field, for the API reference."""

from batches.models import Batch
from kit.schema import component, many, mapping, moment, number, one_of, page_of, string, thing, whole

BATCH = component(
    "Batch",
    thing(
        "A file of calls, and how far they are.",
        {
            "id": string("The batch's id.", example="batch_01m8hyccpze3abtvcq1zv6743v"),
            "object": one_of("Always `batch`.", ["batch"]),
            "endpoint": string("The path that every line calls.", example="/v1/classify"),
            "model": string("The model that every line asks; null until the file was checked.", null=True),
            "errors": thing(
                "What is wrong with the file, line by line, or why the batch ended early; null where nothing is.",
                {
                    "object": one_of("Always `list`.", ["list"]),
                    "data": many(
                        "Up to 1,000 problems; the error file has all where there are more.",
                        thing(
                            "A problem.",
                            {
                                "code": string("What kind."),
                                "line": whole("Line of the file, from 1; null for the whole file.", null=True),
                                "message": string("What is wrong, and what to do."),
                                "param": string("The field; null where it is none.", null=True),
                            },
                        ),
                    ),
                },
                null=True,
            ),
            "completion_window": one_of("The window.", ["24h"]),
            "status": one_of("Where it stands.", Batch.State.values),
            "input_file_id": string("The file it reads."),
            "output_file_id": string("The file with the answers; null until it ends, or where none came.", null=True),
            "error_file_id": string("The file with the failed lines; null until it ends, or without any.", null=True),
            "created_at": moment("When it was made."),
            "in_progress_at": moment("When its file was checked; null until then.", null=True),
            "expires_at": moment("When its window ends."),
            "finalizing_at": moment("When all lines had a result; null until then.", null=True),
            "cancelling_at": moment("When it was cancelled; null unless it was.", null=True),
            "completed_at": moment("When it was completed; null otherwise.", null=True),
            "failed_at": moment("When its file was found to have problems; null otherwise.", null=True),
            "expired_at": moment("When it ended because its window had; null otherwise.", null=True),
            "cancelled_at": moment("When it ended because it was cancelled; null otherwise.", null=True),
            "request_counts": thing(
                "Lines.",
                {
                    "total": whole("In the file."),
                    "completed": whole("Answered."),
                    "failed": whole("In the error file, those that were not asked included."),
                },
            ),
            "usage": thing(
                "Tokens of the answered lines.",
                {
                    "input_tokens": whole("Read."),
                    "input_tokens_details": thing("Of them.", {"cached_tokens": whole("Found in the engine's cache.")}),
                    "output_tokens": whole("Written."),
                    "output_tokens_details": thing("Of them.", {"reasoning_tokens": whole("Always 0.")}),
                    "total_tokens": whole("Both."),
                },
            ),
            "metadata": mapping("Pairs of your own.", {"type": "string"}, null=True),
            "x_cost_usd": number("What the answered lines cost so far: half of what calls would have."),
            "x_waits_for": one_of(
                "What it waits for: a spend limit, the engine, or a suspended organisation. Null while it goes on.",
                Batch.Waits.values,
                null=True,
            ),
            "x_failed_by_code": mapping("How many lines failed with which code.", {"type": "integer"}),
        },
    ),
)
BATCHES = page_of(BATCH, "Batches.")
