"""What `/v1/billing/invoices`, `/months`, `/events` and `/budgets` answer, field by field, for the API reference."""

from billing.subscription_schema import SMALLEST
from kit.schema import Schema, component, many, moment, number, one_of, page_of, string, thing, whole

_INVOICE = {
    "id": string("Its id."),
    "object": one_of("Always `billing.invoice`.", ["billing.invoice"]),
    "number": string("The number printed on it.", null=True),
    "status": one_of("How it stands.", ["open", "paid", "void", "uncollectible"]),
    "currency": string("Three letters, such as `usd`."),
    "issued_at": moment("When it was issued."),
    "due_at": moment("By when it is to be paid; null where a card is charged.", null=True),
    "paid_at": moment("When it was paid.", null=True),
    "collection_method": one_of(
        "Whether a card is charged, or the invoice is sent to be paid by its due date.",
        ["charge_automatically", "send_invoice"],
    ),
    "total": whole(f"What it asks for. {SMALLEST}"),
    "paid": whole("What of it is paid."),
    "open": whole("What is still to be paid."),
    "hosted_url": string("The page on which it can be seen and paid.", null=True),
    "pdf_url": string("The same as a PDF.", null=True),
}
INVOICES = page_of(component("Invoice", thing("An invoice.", _INVOICE)), "The invoices.")
INVOICE_WHOLE = component(
    "InvoiceWithLines",
    thing(
        "An invoice, whole.",
        {
            **_INVOICE,
            "sums": thing(
                f"How its total comes about; null where it is not in the organisation's currency. {SMALLEST}",
                {
                    "subtotal": whole("Its lines."),
                    "discount": whole("Taken off by coupons."),
                    "tax": whole("Tax, on top or inside."),
                    "total": whole("What it asks for."),
                    "balance": whole("Negative: taken from the customer's balance; positive: left there."),
                    "credited_before_payment": whole("Taken off by credit notes before it was paid."),
                    "paid": whole("What is paid."),
                    "left": whole("What is not."),
                },
                null=True,
            ),
            "lines": many(
                "Its lines.",
                thing(
                    "A line.",
                    {
                        "description": string("What it is for."),
                        "amount": whole(f"Negative: taken off. {SMALLEST}"),
                        "period_start": moment("Its first moment.", null=True),
                        "period_end": moment("Its end.", null=True),
                        "month": string("Of usage, the closed month it is of, such as `2026-10`.", null=True),
                        "key": string("Of usage, the line of that month's bill.", null=True),
                    },
                ),
            ),
            "credit_notes": many(
                "What was taken back of it.",
                thing(
                    "A credit note.",
                    {
                        "id": string("Its id."),
                        "object": one_of("Always `billing.credit_note`.", ["billing.credit_note"]),
                        "number": string("The number printed on it.", null=True),
                        "created_at": moment("When it was issued."),
                        "amount": whole(f"All of it. {SMALLEST}"),
                        "before_payment": whole("Taken off before the invoice was paid."),
                        "refunded": whole("Given back the way it was paid."),
                        "to_balance": whole("Left for the next invoices."),
                        "outside": whole("Given back past the payment provider."),
                    },
                ),
            ),
        },
    ),
)
_MONTH = {
    "id": string("The month, such as `2026-10`."),
    "object": one_of("Always `billing.month`.", ["billing.month"]),
    "closed_at": moment("When it was closed."),
    "usage_usd": number("All usage."),
    "x_usage_nano": whole("The same in nano."),
    "x_included_nano": whole("Of it, what the plan includes."),
    "x_credit_nano": whole("Of it, what credit has paid."),
    "due_usd": number("What is left to be invoiced."),
    "x_due_nano": whole("The same in nano."),
}
MONTHS = page_of(component("BillingMonth", thing("A closed month.", _MONTH)), "The months.")
MONTH_WHOLE = component(
    "BillingMonthWithLines",
    thing(
        "A closed month, whole.",
        {
            **_MONTH,
            "lines": many(
                "The lines of its bill; they sum to what is due.",
                thing(
                    "A line.",
                    {
                        "key": string("Its name within the bill."),
                        "description": string("What it is for."),
                        "quantity": whole("How many units."),
                        "unit": string(
                            "What is counted: `tokens`, `byte-hours`, `engine-seconds`; `month`: taken off."
                        ),
                        "x_amount_nano": whole("Nano, exact. Negative: taken off."),
                        "invoice_id": string("The invoice it is on; null: none yet, or nothing was due.", null=True),
                        "invoiced": whole("What that invoice says, in cents; null where nothing was sent.", null=True),
                    },
                ),
            ),
        },
    ),
)
DAYS = page_of(
    component(
        "RatedDay",
        thing(
            "What a bill has of one day of one model in one project.",
            {
                "id": string("Its id."),
                "object": one_of("Always `billing.rated_day`.", ["billing.rated_day"]),
                "month": string("The month of the bill."),
                "line": string("The line of the bill."),
                "day": string("The day, UTC. Of an earlier month where its usage came late."),
                "project_id": string("The project."),
                "kind": string("What was used."),
                "model": string("The model."),
                "price_version": string("The price book."),
                "quantity": whole("How many units."),
                "unit": string("What is counted."),
                "amount_usd": number("What the bill has of it."),
                "x_amount_nano": whole("The same in nano."),
            },
        ),
    ),
    "The days.",
)
_EVENT = {
    "id": string("Its id."),
    "object": one_of("Always `billing.event`.", ["billing.event"]),
    "occurred_at": moment("When it was used."),
    "project_id": string("The project."),
    "api_key_id": string("The key; null for what came without one.", null=True),
    "kind": string("What was used, such as `classify`, `chat`, `training`, `storage` or `dedicated`."),
    "model": string("The model."),
    "input_tokens": whole("Tokens read, or trained on."),
    "output_tokens": whole("Tokens written."),
    "cached_tokens": whole("Of the tokens read, those in the cache."),
    "requests": whole("Calls."),
    "engine_ms": whole("Time of an engine, in ms."),
    "byte_hours": whole("Storage: bytes times hours."),
    "price_version": string("The price book."),
    "cost_usd": number("What it cost."),
    "x_cost_nano": whole("The same in nano."),
    "request_id": string("The `x-request-id` of the call's answer, or what names the job or measurement."),
    "bill": string("The closed month on whose bill it stands; null: none yet.", null=True),
}
EVENTS = page_of(component("UsageEvent", thing("A usage event.", _EVENT)), "The events.")
EVENT_WHOLE = component(
    "UsageEventWithLine",
    thing(
        "A usage event, whole.",
        {**_EVENT, "bill_line": string("The line of the bill that it is or will be summed in.", null=True)},
    ),
)


def _null(words: str) -> Schema:
    return string(f"{words} null where the limit is not about one.", null=True)


BUDGETS = thing(
    "Spend limits of the month.",
    {
        "object": one_of("Always `list`.", ["list"]),
        "data": many(
            "The limits.",
            component(
                "Budget",
                thing(
                    "A spend limit.",
                    {
                        "object": one_of("Always `billing.budget`.", ["billing.budget"]),
                        "scope": one_of("Whose it is.", ["organization", "project", "member", "api_key", "model"]),
                        "project_id": _null("The project;"),
                        "member_id": _null("The member;"),
                        "api_key_id": _null("The key;"),
                        "model": _null("The model;"),
                        "limit_usd": number("The most a month may cost."),
                        "x_limit_nano": whole("The same in nano."),
                        "used_usd": number("What this month has cost so far."),
                        "x_used_nano": whole("The same in nano."),
                        "renews_at": moment("When the next month begins."),
                    },
                ),
            ),
        ),
    },
)
