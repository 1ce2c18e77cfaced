"""What `/v1/billing/plans` and `/v1/billing/subscription` answer, field by field, for the API reference."""

from billing.plans import INTERVALS
from kit.schema import component, many, moment, number, one_of, string, thing, truth, whole

SMALLEST = "In the currency's smallest unit: 2900 are $29.00."
CURRENCY = string("What the organisation pays in: three letters, such as `usd`, in which names of amounts end.")

PLANS = thing(
    "The plans.",
    {
        "object": one_of("Always `list`.", ["list"]),
        "data": many(
            "The plans of today, smallest first.",
            component(
                "Plan",
                thing(
                    "A plan.",
                    {
                        "id": string("Its name, as a change of plan takes it."),
                        "object": one_of("Always `billing.plan`.", ["billing.plan"]),
                        "version": whole("Its version; a subscription keeps the one it was bought at."),
                        "name": string("What people call it."),
                        "summary": string("Who it is for."),
                        "sold_online": truth("Whether it can be bought without writing to us."),
                        "prices": many(
                            "Every way to pay it; none for what costs nothing, or is by contract.",
                            thing(
                                "A price.",
                                {
                                    "interval": one_of("How often it is paid.", INTERVALS),
                                    "currency": string("Three letters, such as `usd`."),
                                    "amount": whole(SMALLEST),
                                },
                            ),
                        ),
                        "included_usd": number("Usage included in a month."),
                        "x_included_nano": whole("The same in nano."),
                        "trial_days": whole("Days of its trial; null: none.", null=True),
                        "limits": thing(
                            "What it allows.",
                            {
                                "requests_per_minute": whole("Calls a minute."),
                                "tokens_per_minute": whole("Tokens a minute."),
                                "concurrency": whole("Calls at the same time."),
                                "monthly_spend_usd": number("The most usage may cost in a month."),
                                "x_monthly_spend_nano": whole("The same in nano."),
                                "storage_bytes": whole("Files and datasets together."),
                                "file_bytes": whole("The largest file."),
                                "train_rows": whole("The most rows a job may train on."),
                                "parallel_jobs": whole("Jobs that run at the same time."),
                                "queued_jobs": whole("Jobs that wait or run."),
                                "projects": whole("Projects."),
                                "members": whole("Members, invited ones included."),
                                "deployments": whole("Deployments."),
                            },
                        ),
                        "features": many("What else it has.", string("A feature.")),
                    },
                ),
            ),
        ),
    },
)
_SUBSCRIPTION = thing(
    "What the organisation has.",
    {
        "object": one_of("Always `billing.subscription`.", ["billing.subscription"]),
        "currency": CURRENCY,
        "plan": string("The plan that applies now."),
        "plan_version": whole("Its version."),
        "standing": one_of("How payment stands.", ["good", "grace", "restricted"]),
        "included_usd": number("Usage included in a full month."),
        "x_included_nano": whole("The same in nano."),
        "subscription": thing(
            "What is paid for; null on the free plan, and where a contract gives the plan.",
            {
                "id": string("Its id."),
                "status": one_of(
                    "How it stands: `paused` and `incomplete` give no plan.",
                    ["trialing", "active", "past_due", "unpaid", "paused", "incomplete"],
                ),
                "plan": string("The plan it is for."),
                "plan_version": whole("The version it was bought at."),
                "interval": one_of("How often it is paid.", INTERVALS),
                "extra_seats": whole("Members it has room for beyond what the plan includes."),
                "current_period_start": moment("When the period began that is paid.", null=True),
                "current_period_end": moment("When that ends.", null=True),
                "trial_end": moment("When its trial ends or ended; null without one.", null=True),
                "cancel_at_period_end": truth("Whether it ends with the period."),
            },
            null=True,
        ),
        "overdue": thing(
            "How far an overdue invoice has brought the organisation; null when nothing is overdue.",
            {
                "step": one_of("What holds now.", ["warned", "no_jobs", "read_only", "suspended", "closed"]),
                "since": moment("Since when the oldest invoice is overdue.", null=True),
                "next_step_at": moment("When that changes if nobody pays.", null=True),
            },
            null=True,
        ),
        "change_pending": truth("Whether something that was asked for is not answered by the payment provider yet."),
    },
)
SUBSCRIPTION = component("Subscription", _SUBSCRIPTION)
CHANGE = thing(
    "What became of a change.",
    {
        "id": string("Its id."),
        "object": one_of("Always `billing.subscription.change`.", ["billing.subscription.change"]),
        "status": one_of(
            "`done`; `requires_action`: the card's owner has to confirm the payment at `confirm_url` first; `pending`: "
            "the payment provider has not answered yet, and it will be done.",
            ["done", "requires_action", "pending"],
        ),
        "confirm_url": string("Where the payment is confirmed; null where nothing is to be.", null=True),
        "subscription": SUBSCRIPTION,
    },
)
PREVIEW = thing(
    "What a change would charge.",
    {
        "object": one_of("Always `billing.subscription.preview`.", ["billing.subscription.preview"]),
        "plan": string("The plan."),
        "plan_version": whole("The version that would be bought."),
        "interval": one_of("How often it would be paid.", INTERVALS),
        "currency": string("Three letters."),
        "amount_due": whole(f"What would be charged now, before tax that depends on the address. {SMALLEST}"),
        "credit": whole(f"What would be left for the next invoices instead. {SMALLEST}"),
        "lines": many(
            "What it is made of.",
            thing(
                "A line.",
                {
                    "description": string("What it is for."),
                    "amount": whole(f"Negative: taken off. {SMALLEST}"),
                    "quantity": whole("How many."),
                    "period_start": moment("Its first moment."),
                    "period_end": moment("Its end."),
                },
            ),
        ),
        "pin": string("To be sent with the change, which then charges just this."),
        "expires_at": moment("Until when the pin holds."),
    },
)
