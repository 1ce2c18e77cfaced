"""What `/v1/organization/usage`, `/costs` and `/limits` answer, field by field, for the API reference."""

from billing.prices import ENGINES, NOT_CALLS, STORAGE, TRAINING, batch_kind
from billing.subscription_schema import CURRENCY
from kit.schema import Schema, component, many, moment, number, one_of, page_of, string, thing, truth, whole

KINDS: dict[str, tuple[str, ...]] = {
    "classify": ("classify",),
    "decisions": ("decisions",),
    "embeddings": ("embeddings", "rerank"),
    "completions": ("chat", "completions"),
    "training": TRAINING,
    "storage": (STORAGE,),
    "dedicated": (ENGINES,),
}
"""Kinds on the wire, and the metered kinds behind each."""


def metered_kinds(kind: str, *, batch: bool | None = None) -> tuple[str, ...]:
    """The metered kinds behind one of the wire: in batches (True), live (False), or both."""
    live = KINDS.get(kind, (kind,))
    batched = tuple(batch_kind(one) for one in live if one not in NOT_CALLS)
    if batch is None:
        return live + batched
    return batched if batch else live


UNUSED = frozenset(
    {
        "audio_speeches",
        "audio_transcriptions",
        "code_interpreter_sessions",
        "file_search_calls",
        "images",
        "moderations",
        "vector_stores",
        "web_search_calls",
    }
)
"""Kinds the official client can ask for and nobody here sells: always empty."""
USAGE_KIND = {
    "name": "kind",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "enum": [*KINDS, *sorted(UNUSED)]},
    "description": f"What was used: {', '.join(KINDS)}. The other kinds of the official client answer empty buckets.",
}
"""The one word in which the routes of usage differ."""


JOB_LIMIT_KINDS = ["queued_jobs", "open_sweeps", "parallel_jobs", "train_rows", "plan"]
LIMIT_KINDS = [
    "requests_per_minute",
    "tokens_per_minute",
    "input_tokens_per_minute",
    "output_tokens_per_minute",
    "concurrency",
    "monthly_spend",
    "funds",
]


def _buckets(result: Schema) -> Schema:
    return thing(
        "One page of buckets. `page=next_page` with the same query gives the next.",
        {
            "object": one_of("Always `page`.", ["page"]),
            "data": many(
                "Buckets in order of time, empty ones too.",
                thing(
                    "A bucket.",
                    {
                        "object": one_of("Always `bucket`.", ["bucket"]),
                        "start_time": moment("Its start."),
                        "end_time": moment("Its end, not part of it."),
                        "results": many("One per group; none where nothing was used.", result),
                    },
                ),
            ),
            "has_more": truth("Whether there is another page."),
            "next_page": string("Cursor of the next page; null on the last.", null=True),
        },
    )


USAGE = component(
    "UsagePage",
    _buckets(
        thing(
            "Usage of one group.",
            {
                "object": string("`organization.usage.` and the kind and `.result`."),
                "input_tokens": whole("Tokens read; of training, tokens trained on."),
                "output_tokens": whole("Tokens written."),
                "num_model_requests": whole("Calls."),
                "input_cached_tokens": whole("Of the input tokens, those in the cache."),
                "project_id": string("The project, when grouped by `project_id`; null otherwise.", null=True),
                "user_id": string("Always null: usage belongs to keys.", null=True),
                "api_key_id": string("The key, when grouped by `api_key_id`; null otherwise.", null=True),
                "model": string("The model, when grouped by `model`; null otherwise.", null=True),
                "batch": truth("Whether it came from batches, when grouped by `batch`; null otherwise.", null=True),
                "service_tier": string("Always null: there is one tier.", null=True),
                "x_cost_usd": number("What it cost."),
                "x_byte_hours": whole("Storage only: bytes times hours."),
                "x_engine_seconds": whole("Dedicated only: seconds that engines of deployments' own were ready."),
            },
            optional=("x_byte_hours", "x_engine_seconds"),
        )
    ),
)
COSTS = component(
    "CostsPage",
    _buckets(
        thing(
            "Costs of one group.",
            {
                "object": one_of("Always `organization.costs.result`.", ["organization.costs.result"]),
                "amount": thing("The money.", {"value": number("The amount."), "currency": CURRENCY}),
                "line_item": string("Kind and model, when grouped by `line_item`; null otherwise.", null=True),
                "project_id": string("The project, when grouped by `project_id`; null otherwise.", null=True),
                "api_key_id": string("The key, when grouped by `api_key_id`; null otherwise.", null=True),
                "x_amount_nano": whole("The same to the last nano: 1,000,000,000 are one of the currency."),
            },
        )
    ),
)
LIMITS = thing(
    "Every limit a call of this key must pass.",
    {
        "object": one_of("Always `list`.", ["list"]),
        "x_plan": thing("The plan.", {"code": string("Its name."), "version": whole("The version subscribed to.")}),
        "data": many(
            "The limits.",
            thing(
                "A limit.",
                {
                    "object": one_of("Always `organization.limit`.", ["organization.limit"]),
                    "scope": one_of(
                        "Whose limit it is.", ["organization", "wallet", "project", "member", "api_key", "model"]
                    ),
                    "kind": one_of("What is limited.", LIMIT_KINDS),
                    "model": string("The model whose calls it limits; of scope `model` only."),
                    "limit": whole("The most there may be; of all kinds but money."),
                    "used": whole(
                        "What is used of it: of this minute, or calls running now. Not there while the quota service "
                        "does not answer."
                    ),
                    "limit_usd": number("Money: the most a month may cost, or what the wallet carries of it."),
                    "x_limit_nano": whole("Money: the same in nano."),
                    "used_usd": number("Money: what this month has cost so far."),
                    "x_used_nano": whole("Money: the same in nano."),
                },
                optional=("model", "limit", "used", "limit_usd", "x_limit_nano", "used_usd", "x_used_nano"),
            ),
        ),
    },
)
DECISIONS = page_of(
    component(
        "LimitDecision",
        thing(
            "A call or a job that a limit refused, or several alike of one second.",
            {
                "id": string("Its id."),
                "object": one_of("Always `organization.limit.decision`.", ["organization.limit.decision"]),
                "created_at": moment("When the first was refused."),
                "refused": whole("How many calls it stands for."),
                "request_ids": many(
                    "Ids of the first of them.", string("As the answer's `x-request-id`; the id of a job that had one.")
                ),
                "status": whole(
                    "What they were answered with: 429 for rates, 402 for money, 503 where nobody counted; 200 where a "
                    "text that was being written ended early."
                ),
                "reason": one_of(
                    "`rate`: too much in a minute. `concurrency`: too many at once. `too_large`: more than the limit "
                    "itself. `spend` and `lease`: the month's money is used up. `away`: the quota service did not "
                    "answer, and calls that cost money wait for it. `plan`: the plan does not include it.",
                    ["rate", "concurrency", "too_large", "spend", "lease", "away", "plan"],
                ),
                "project_id": string("The project that called."),
                "api_key_id": string("The key; null for the playground.", null=True),
                "model": string("The model that was called."),
                "kind": string(
                    "What was called: `classify`, `decisions`, `embeddings`, `chat`, `completions`; `training`: jobs."
                ),
                "scope": one_of(
                    "Whose limit said no; `platform` when no limit did.",
                    ["organization", "wallet", "project", "member", "api_key", "model", "platform"],
                ),
                "limit": thing(
                    "The limit.",
                    {
                        "kind": one_of("What it limits.", [*LIMIT_KINDS, *JOB_LIMIT_KINDS]),
                        "value": whole("The most there may be."),
                        "unit": string(
                            "What `value`, `asked` and `remaining` count: `requests`, `tokens`, `input_tokens`, "
                            "`output_tokens`, `calls`, `jobs`, `sweeps`, `rows`; of money `nano_` and the currency.",
                            example="nano_usd",
                        ),
                    },
                ),
                "asked": whole("What the call needed at most."),
                "remaining": whole("What was left of the limit; null where it is not known.", null=True),
                "wait_ms": whole("When it would have passed, in ms; null where no short wait helps.", null=True),
                "x_limit_usd": number("Money: the limit."),
                "x_asked_usd": number("Money: what the call could cost at most."),
            },
            optional=("x_limit_usd", "x_asked_usd"),
        ),
    ),
    "The refusals.",
)
_TOP_UP = thing(
    "The newest purchase; null where there is none.",
    {
        "id": string("Its id."),
        "object": one_of("Always `billing.top_up`.", ["billing.top_up"]),
        "status": one_of(
            "`waiting` is on its way, `failed` was refused and can be paid by hand.", ["waiting", "paid", "failed"]
        ),
        "created_at": moment("When it began."),
        "amount_usd": number("What it buys."),
        "x_amount_nano": whole("The same in nano."),
        "reason": one_of("Why it failed.", ["declined", "confirm", "refused"], null=True),
        "pay_url": string("Where it can be paid by hand; only for keys with `billing.write`.", null=True),
    },
    null=True,
)
_AUTO_TOP_UP = thing(
    "Automatic top-up; null where it was never turned on.",
    {
        "object": one_of("Always `billing.auto_top_up`.", ["billing.auto_top_up"]),
        "status": one_of("`failed`: a refused payment turned it off.", ["on", "off", "failed"]),
        "below_usd": number("Credit is bought when the balance falls below this."),
        "x_below_nano": whole("The same in nano."),
        "amount_usd": number("How much is bought at once."),
        "x_amount_nano": whole("The same in nano."),
        "month_most_usd": number("What purchases of a month (UTC) may come to."),
        "x_month_most_nano": whole("The same in nano."),
        "month_usd": number("What they come to this month."),
        "x_month_nano": whole("The same in nano."),
        "consented_at": moment("When it was agreed to."),
        "last": _TOP_UP,
    },
    null=True,
)
WALLET = thing(
    "The organisation's credit.",
    {
        "object": one_of("Always `billing.wallet`.", ["billing.wallet"]),
        "currency": CURRENCY,
        "balance_usd": number("All that is left; negative where the money of credit went back after it was used."),
        "x_balance_nano": whole("The same in nano."),
        "on_account_usd": number(
            "What may be owed in a month beyond credit: nothing while that is negative; null: up to the spend limits.",
            null=True,
        ),
        "x_on_account_nano": whole("The same in nano.", null=True),
        "slow_below_usd": number(
            "At so much left of credit and what may be owed, or less, a call counts as 10 requests; null: never.",
            null=True,
        ),
        "x_slow_below_nano": whole("The same in nano.", null=True),
        "auto_top_up": _AUTO_TOP_UP,
        "top_up_terms": string("What is agreed to by turning automatic top-up on."),
        "grants": many(
            "What is left of each credit, in the order in which it is used.",
            component(
                "CreditGrant",
                thing(
                    "Credit that was given or bought once.",
                    {
                        "id": string("Its id."),
                        "object": one_of("Always `billing.credit_grant`.", ["billing.credit_grant"]),
                        "kind": one_of("Where it came from.", ["promo", "goodwill", "rollover", "prepaid"]),
                        "created_at": moment("When it came."),
                        "expires_at": moment("When it ends; null: never.", null=True),
                        "amount_usd": number("What it was."),
                        "x_amount_nano": whole("The same in nano."),
                        "left_usd": number("What is left of it."),
                        "x_left_nano": whole("The same in nano."),
                    },
                ),
            ),
        ),
    },
)
