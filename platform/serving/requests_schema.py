"""What `/v1/requests` answers, field by field, for the API reference."""

from kit.schema import component, many, moment, number, one_of, page_of, string, thing, whole

_FIELDS = {
    "id": string("The request's id, as its answer had it.", example="req_01m8hyccpze3abtvcq1zv6743v"),
    "object": one_of("Always `request`.", ["request"]),
    "created_at": moment("When it came."),
    "kind": string("What was called.", example="chat"),
    "model": string("The model, as the caller named it; null where it got not so far.", null=True),
    "version_id": string("Whose answer it was; null for a base, or where there was none.", null=True),
    "arm": string("The side of a rollout that answered: `stable` or `candidate`; null without one.", null=True),
    "api_key_id": string("The key; null for a call of the playground.", null=True),
    "status": whole("As sent; 499 where the client left first."),
    "code": string("The error's code, or its type where it has none; null without an error.", null=True),
    "duration_ms": whole("From its first byte to the answer's last."),
    "first_token_ms": whole("Until the first token was written; null where nothing is written.", null=True),
    "queue_ms": whole("How long it waited in the engine."),
    "engine_ms": whole("Its share of the engine's time."),
    "inputs": whole("Texts, documents or prompts in it."),
    "batch_rows": whole("Rows, of whoever's calls, in the largest batch it was part of; null without.",
                        null=True),
    "input_tokens": whole("Tokens read."),
    "output_tokens": whole("Tokens written."),
    "cached_tokens": whole("Of those read, tokens that were in the engine's cache."),
    "cost_usd": number("What it cost."),
    "model_state": string("`hot`, or `loaded` and how long that took; null where it got not so far.",
                          null=True),
    "trace_id": string("The trace it belongs to, where traces are collected.", null=True),
    "retries": whole("How often the client had sent it before, as the official clients tell in a header."),
}  # fmt: skip
REQUEST = component("Request", thing("One call, and what became of it.", _FIELDS))
REQUEST_WHOLE = component(
    "RequestWithTexts",
    thing(
        "One call, with its texts where they are kept.",
        {
            **_FIELDS,
            "input": string("The body as it was sent, cut at 16,000 characters; null where none is kept.", null=True),
            "output": string("The answer's body, or a stream's text; null where none is kept.", null=True),
        },
    ),
)
REQUESTS = page_of(REQUEST, "Requests.")
_FIGURES = {
    "group": string("The part; null for the total, and for what has no such value.", null=True),
    "requests": whole("Calls."),
    "errors": whole("Answers of status 400 and above."),
    "faults": whole("Of those, status 500 and above: ours."),
    "refused": whole("Of those, 402 and 429: a limit."),
    "inputs": whole("Texts, documents or prompts."),
    "input_tokens": whole("Tokens read."),
    "output_tokens": whole("Tokens written."),
    "cached_tokens": whole("Of those read, tokens that were in the engine's cache."),
    "cost_usd": number("What they cost."),
    "p50_ms": number("Half the answered calls took no longer.", null=True),
    "p95_ms": number("95 of 100 took no longer.", null=True),
    "p99_ms": number("99 of 100 took no longer.", null=True),
    "first_token_p50_ms": number("Half the texts began within.", null=True),
    "first_token_p95_ms": number("95 of 100 texts began within.", null=True),
    "queue_p95_ms": number("95 of 100 waited no longer in the engine.", null=True),
    "batch_rows_mean": number("Rows of the batch that a call was in, on average.", null=True),
}
FIGURES = component(
    "RequestFigures",
    thing(
        "Figures over a span of requests.",
        {
            "object": one_of("Always `request_figures`.", ["request_figures"]),
            "start_time": moment("Begin of the span."),
            "end_time": moment("Its end, not part of it."),
            "group_by": string("What the parts are; null without.", null=True),
            "total": thing("All together.", _FIGURES),
            "data": many("Each part, the busiest first.", thing("A part.", _FIGURES)),
        },
    ),
)
