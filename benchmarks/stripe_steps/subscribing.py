"""Subscriptions: their life, changes, schedules, quotes."""

from __future__ import annotations

from benchmarks.stripe_steps.step import DAY, Tour, refused, same, step


@step("subscriptions", "subscriptions.create")
def create(t: Tour) -> None:
    """With a good default card the subscription is active, and its first invoice is paid."""
    made = t.v1.subscriptions.create(
        {
            "customer": t.memory.customer,
            "items": [{"price": t.memory.price}],
            "metadata": {"tenant": t.tail},
            "expand": ["latest_invoice"],
        }
    )
    t.memory.subscription, t.memory.item = made.id, made["items"].data[0].id
    t.memory.first_invoice = made.latest_invoice.id
    same((made.status, made.latest_invoice.status, made.latest_invoice.total), ("active", "paid", 2900))


@step("subscriptions", "subscriptions.create")
def create_incomplete(t: Tour) -> None:
    """default_incomplete leaves it incomplete, with an open invoice and a secret to pay it with."""
    made = t.v1.subscriptions.create(
        {
            "customer": t.memory.customer,
            "items": [{"price": t.memory.price}],
            "payment_behavior": "default_incomplete",
            "expand": ["latest_invoice.confirmation_secret"],
        }
    )
    same((made.status, made.latest_invoice.status), ("incomplete", "open"))
    assert made.latest_invoice.confirmation_secret.client_secret, "no secret"
    same(t.v1.subscriptions.cancel(made.id).status, "canceled")


@step("subscriptions", "subscriptions.create")
def create_trial(t: Tour) -> None:
    """A trial starts at once, without a card, with an invoice of zero."""
    customer = t.v1.customers.create({"name": f"Trial {t.tail}"})
    made = t.v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": t.memory.price}],
            "trial_period_days": 14,
            "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
            "expand": ["latest_invoice"],
        }
    )
    same((made.status, made.trial_end - made.trial_start), ("trialing", 14 * DAY))
    same((made.latest_invoice.total, made.latest_invoice.status), (0, "paid"))


@step("subscriptions", "subscriptions.retrieve")
def retrieve(t: Tour) -> None:
    """The period is on the item, a month long."""
    item = t.v1.subscriptions.retrieve(t.memory.subscription)["items"].data[0]
    assert 28 * DAY <= item.current_period_end - item.current_period_start <= 31 * DAY, "not a month"


@step("subscriptions", "subscriptions.list")
def listing(t: Tour) -> None:
    """Without a status, canceled ones are left out."""
    found = t.v1.subscriptions.list({"customer": t.memory.customer})
    same([one.id for one in found.data], [t.memory.subscription])
    same(len(t.v1.subscriptions.list({"customer": t.memory.customer, "status": "all"}).data), 2)


@step("subscriptions", "invoices.create_preview")
def preview(t: Tour) -> None:
    """A change at once is previewed as the credit of the old price and the charge of the new, and changes nothing."""
    found = t.v1.invoices.create_preview(
        {
            "subscription": t.memory.subscription,
            "subscription_details": {
                "items": [{"id": t.memory.item, "price": t.memory.bigger}],
                "proration_behavior": "always_invoice",
            },
        }
    )
    amounts = sorted(line.amount for line in found.lines.data)
    assert len(amounts) == 2 and amounts[0] < 0 < amounts[1], amounts
    t.memory.previewed = found.total
    same(t.v1.subscriptions.retrieve(t.memory.subscription)["items"].data[0].price.id, t.memory.price)


@step("subscriptions", "subscriptions.update")
def upgrade(t: Tour) -> None:
    """An upgrade with always_invoice is charged what the preview said."""
    made = t.v1.subscriptions.update(
        t.memory.subscription,
        {
            "items": [{"id": t.memory.item, "price": t.memory.bigger}],
            "proration_behavior": "always_invoice",
            "expand": ["latest_invoice"],
        },
    )
    same(made["items"].data[0].price.id, t.memory.bigger)
    same(made.latest_invoice.status, "paid")
    # Some seconds lie between the two.
    assert abs(made.latest_invoice.total - t.memory.previewed) <= 2, (made.latest_invoice.total, t.memory.previewed)


@step("subscriptions", "subscriptions.update")
def ending(t: Tour) -> None:
    """cancel_at_period_end sets cancel_at to the period's end, and can be taken back."""
    made = t.v1.subscriptions.update(t.memory.subscription, {"cancel_at_period_end": True})
    same((made.status, made.cancel_at), ("active", made["items"].data[0].current_period_end))
    made = t.v1.subscriptions.update(t.memory.subscription, {"cancel_at_period_end": False})
    same((made.cancel_at_period_end, made.cancel_at), (False, None))


@step("subscriptions", "subscriptions.update")
def collection(t: Tour) -> None:
    """pause_collection leaves the status, and is unset by an empty value."""
    made = t.v1.subscriptions.update(t.memory.subscription, {"pause_collection": {"behavior": "void"}})
    same((made.status, made.pause_collection.behavior), ("active", "void"))
    same(t.v1.subscriptions.update(t.memory.subscription, {"pause_collection": ""}).pause_collection, None)


@step("subscriptions", "subscription_items.update")
def item_update(t: Tour) -> None:
    """A quantity is changed on the item; `none` makes no prorations."""
    made = t.v1.subscription_items.update(t.memory.item, {"quantity": 3, "proration_behavior": "none"})
    same(made.quantity, 3)
    same(t.v1.invoice_items.list({"customer": t.memory.customer, "pending": True}).data, [])


@step("subscriptions", "subscription_items.create")
def item_create(t: Tour) -> None:
    """A second price is a second item, and can be deleted again."""
    extra = t.v1.prices.create(
        {"product": t.memory.product, "currency": "usd", "unit_amount": 300, "recurring": {"interval": "month"}}
    )
    given = {"subscription": t.memory.subscription, "price": extra.id, "proration_behavior": "none"}
    made = t.v1.subscription_items.create(given)
    same(len(t.v1.subscription_items.list({"subscription": t.memory.subscription}).data), 2)
    same(t.v1.subscription_items.delete(made.id, {"proration_behavior": "none"}).deleted, True)


@step("subscriptions", "subscriptions.search")
def search(t: Tour) -> None:
    """`status` and `metadata` find subscriptions; AND and OR cannot be mixed."""
    query = {"query": f'status:"active" AND metadata["tenant"]:"{t.tail}"'}
    found = t.until(lambda: t.v1.subscriptions.search(query).data, 90)
    same([one.id for one in found], [t.memory.subscription])
    mixed = {"query": 'status:"active" AND metadata["a"]:"b" OR status:"canceled"'}
    refused(lambda: t.v1.subscriptions.search(mixed), status=400)


@step("subscriptions", "subscriptions.cancel")
def cancel(t: Tour) -> None:
    """Cancel ends it now; a second time there is nothing to cancel."""
    made = t.v1.subscriptions.create({"customer": t.memory.customer, "items": [{"price": t.memory.price}]})
    made = t.v1.subscriptions.cancel(made.id, {"cancellation_details": {"comment": "enough"}})
    same((made.status, made.cancellation_details.comment), ("canceled", "enough"))
    refused(lambda: t.v1.subscriptions.cancel(made.id), status=404, code="resource_missing")


def _phases(t: Tour) -> list[dict[str, object]]:
    month = {"interval": "month", "interval_count": 1}
    return [
        {"items": [{"price": t.memory.price, "quantity": 1}], "duration": month},
        {"items": [{"price": t.memory.bigger, "quantity": 1}], "duration": month, "proration_behavior": "none"},
    ]


@step("schedules", "subscription_schedules.create")
def schedule_create(t: Tour) -> None:
    """A schedule that starts now has its subscription at once; its phases follow one another."""
    made = t.v1.subscription_schedules.create(
        {"customer": t.memory.customer, "start_date": "now", "end_behavior": "release", "phases": _phases(t)}
    )
    t.memory.schedule = made.id
    same((made.status, made.phases[0].end_date), ("active", made.phases[1].start_date))
    assert made.subscription, "no subscription"


@step("schedules", "subscription_schedules.release")
def schedule_release(t: Tour) -> None:
    """A released schedule lets go of its subscription, which lives on."""
    made = t.v1.subscription_schedules.release(t.memory.schedule)
    same((made.status, made.subscription), ("released", None))
    same(t.v1.subscriptions.cancel(made.released_subscription).status, "canceled")


@step("schedules", "subscription_schedules.cancel")
def schedule_cancel(t: Tour) -> None:
    """A schedule that has not begun can be canceled, and never had a subscription."""
    later = t.v1.subscriptions.retrieve(t.memory.subscription).created + 40 * DAY
    given = {"customer": t.memory.customer, "start_date": later, "phases": _phases(t)}
    made = t.v1.subscription_schedules.create(given)
    same((made.status, made.subscription), ("not_started", None))
    same(t.v1.subscription_schedules.cancel(made.id).status, "canceled")


@step("quotes", "quotes.create")
def quote_create(t: Tour) -> None:
    """A quote is a draft with its sums."""
    made = t.v1.quotes.create(
        {"customer": t.memory.customer, "line_items": [{"price": t.memory.price, "quantity": 2}], "header": "Offer"}
    )
    t.memory.quote = made.id
    same((made.status, made.amount_total, made.computed.recurring.amount_total), ("draft", 5800, 5800))


@step("quotes", "quotes.list_line_items")
def quote_lines(t: Tour) -> None:
    """What is offered is listed."""
    found = t.v1.quotes.line_items.list(t.memory.quote)
    same([(one.price.id, one.quantity) for one in found.data], [(t.memory.price, 2)])


@step("quotes", "quotes.finalize_quote")
def quote_finalize(t: Tour) -> None:
    """A finalised quote is open, has a number, and can no longer be changed but for its expiry."""
    refused(lambda: t.v1.quotes.accept(t.memory.quote), status=400)
    made = t.v1.quotes.finalize_quote(t.memory.quote)
    same(made.status, "open")
    assert made.number.startswith("QT-") and made.number.endswith("-0001-1"), made.number
    later = {"expires_at": made.expires_at - DAY}
    same(t.v1.quotes.update(t.memory.quote, later).expires_at, made.expires_at - DAY)
    items = {"line_items": [{"price": t.memory.bigger}]}
    refused(lambda: t.v1.quotes.update(t.memory.quote, items), status=400)


@step("quotes", "quotes.pdf")
def quote_pdf(t: Tour) -> None:
    """An open quote is downloaded as PDF."""
    same(t.v1.quotes.pdf(t.memory.quote).io.read()[:5], b"%PDF-")


@step("quotes", "quotes.accept")
def quote_accept(t: Tour) -> None:
    """Accepting a quote with recurring prices makes the subscription."""
    made = t.v1.quotes.accept(t.memory.quote, {"expand": ["subscription"]})
    same((made.status, made.subscription["items"].data[0].quantity), ("accepted", 2))
    t.v1.subscriptions.cancel(made.subscription.id)


@step("quotes", "quotes.create")
def quote_revision(t: Tour) -> None:
    """A revision is made from a finalised quote, with the same lines."""
    made = t.v1.quotes.create({"from_quote": {"quote": t.memory.quote, "is_revision": False}})
    same((made.status, made.amount_total, made.from_quote.quote), ("draft", 5800, t.memory.quote))
    t.memory.second_quote = made.id


@step("quotes", "quotes.cancel")
def quote_cancel(t: Tour) -> None:
    """A draft can be canceled, and not accepted any more."""
    same(t.v1.quotes.cancel(t.memory.second_quote).status, "canceled")
    refused(lambda: t.v1.quotes.accept(t.memory.second_quote), status=400)
