"""Quotes: draft -> open -> accepted | canceled. Accepting makes a subscription, a schedule, or a draft invoice."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, listing, merged_metadata, page, slice_of, unset
from billing.stripe_emulator.errors import StripeError, missing, wrong_state
from billing.stripe_emulator.nouns.customers import customer_alive
from billing.stripe_emulator.nouns.invoice_calls import invoice_create, invoice_update
from billing.stripe_emulator.nouns.invoice_items import item_make
from billing.stripe_emulator.nouns.invoice_line_calls import lines_add
from billing.stripe_emulator.nouns.payment_methods import default_method
from billing.stripe_emulator.nouns.quote_sums import lines_take, quote_sum
from billing.stripe_emulator.nouns.schedules import schedule_make
from billing.stripe_emulator.nouns.subscriptions import subscription_make
from billing.stripe_emulator.nouns.tax_rates import no_automatic_tax, rates_given
from billing.stripe_emulator.pages.html import day, money
from billing.stripe_emulator.pages.pdf import pdf, row
from billing.stripe_emulator.registry import extra, route, timer
from billing.stripe_emulator.store import ABSENT, CLOCK, Obj
from billing.stripe_emulator.world import World

DAY = 86400
_PATH = "/v1/quotes"
_PLAIN = ("collection_method", "description", "footer", "header", "metadata")
_CONNECT = ("application_fee_amount", "application_fee_percent", "on_behalf_of", "transfer_data")
MOST_AHEAD = 5 * 366 * DAY


@route("POST", _PATH)
def quote_create(world: World, params: Obj) -> Obj:
    if "from_quote" in params:
        return _again(world, params)
    if "test_clock" in params:
        world.get(CLOCK, params["test_clock"], "test_clock")
    quote = _blank(world, params)
    quote_take(world, quote, params)
    return world.save(quote, "quote.created")


def _blank(world: World, params: Obj) -> Obj:
    quote = world.new(
        "quote",
        "qt",
        status="draft",
        metadata={},
        default_tax_rates=[],
        expires_at=world.now + 30 * DAY,
        _lines=[],
        _rates={},
        _coupons=[],
    )
    quote["invoice_settings"]["issuer"] = {"type": "self"}
    quote["subscription_data"]["billing_mode"] = {"type": "flexible", "flexible": {"proration_discounts": "included"}}
    return quote


def quote_take(world: World, quote: Obj, params: Obj) -> None:
    """Set what a call names, and sum up."""
    no_automatic_tax(params)
    for name in _CONNECT:
        if params.get(name):
            raise StripeError(f"The local emulator has no connected accounts ({name}).", param=name)
    assign(quote, params, *_PLAIN)
    if "customer" in params:
        quote["customer"] = customer_alive(world, params["customer"], "customer")["id"]
    _expiry(world, quote, params)
    if "default_tax_rates" in params:
        quote["default_tax_rates"] = rates_given(world, params, "default_tax_rates")
    invoices = params.get("invoice_settings") or {}
    assign(quote["invoice_settings"], invoices, "custom_fields", "days_until_due", "description", "footer")
    data = params.get("subscription_data") or {}
    assign(quote["subscription_data"], unset(data), "description", "effective_date", "trial_period_days")
    if quote["subscription_data"]["effective_date"] == "current_period_end":
        raise StripeError("The local emulator takes a moment as effective_date.", param="subscription_data")
    if "metadata" in data:
        quote["subscription_data"]["metadata"] = merged_metadata({}, data["metadata"])
    if "line_items" in params:
        lines_take(world, quote, params["line_items"])
    if "discounts" in params:
        quote["_coupons"] = params["discounts"] or []
    quote_sum(world, quote)
    if "discounts" in params:
        quote["discounts"] = [_discount(world, entry) for entry in quote["_coupons"]]


def _expiry(world: World, quote: Obj, params: Obj) -> None:
    if "expires_at" in params:
        if not world.now < params["expires_at"] <= world.now + MOST_AHEAD:
            raise StripeError("expires_at must be in the future, within five years.", param="expires_at")
        quote["expires_at"] = params["expires_at"]


def _discount(world: World, entry: Obj) -> str:
    """A discount that only shows what was offered; it is redeemed when the quote is accepted."""
    code = world.maybe(entry.get("promotion_code"))
    coupon = code["promotion"]["coupon"] if code else entry["coupon"]
    made = world.new("discount", "di", start=world.now, promotion_code=code["id"] if code else None)
    made["source"] = {"coupon": coupon, "type": "coupon"}
    return str(world.save(made)["id"])


def _again(world: World, params: Obj) -> Obj:
    for name in sorted(set(params) - {"from_quote", "expires_at", "metadata"}):
        raise StripeError(f"You can not pass `{name}` together with `from_quote`.", param=name)
    old = world.get("quote", params["from_quote"]["quote"], "from_quote[quote]")
    if old["status"] == "draft":
        raise wrong_state("A quote can be made from one that is finalized.", param="from_quote[quote]")
    revision = bool(params["from_quote"].get("is_revision"))
    if revision and old["status"] != "open":
        raise wrong_state("Only an open quote can be revised.", param="from_quote[is_revision]")
    quote = _blank(world, params)
    same = ("customer", "default_tax_rates", "subscription_data", "invoice_settings", *_PLAIN, "_lines", "_rates")
    quote.update({name: old[name] for name in (*same, "_coupons", "currency", "discounts", "test_clock")})
    quote["from_quote"] = {"is_revision": revision, "quote": old["id"]}
    assign(quote, params, "metadata")
    _expiry(world, quote, params)
    quote_sum(world, quote)
    return world.save(quote, "quote.created")


@route("GET", _PATH + "/{quote}")
def quote_retrieve(world: World, params: Obj, quote_id: str) -> Obj:
    return world.get("quote", quote_id)


@route("POST", _PATH + "/{quote}")
def quote_update(world: World, params: Obj, quote_id: str) -> Obj:
    quote = world.get("quote", quote_id)
    allowed = {"metadata", "expires_at"} if quote["status"] == "open" else {"metadata"}
    if set(params) - allowed and quote["status"] != "draft":
        raise wrong_state(f"Only a draft quote can be updated. This one is {quote['status']}.")
    quote_take(world, quote, params)
    return world.save(quote)


@route("GET", _PATH)
def quote_list(world: World, params: Obj) -> Obj:
    where = {name: params.get(name) for name in ("customer", "status")}
    clock = params.get("test_clock", None if "customer" in params else ABSENT)
    return page(world, "quote", params, _PATH, {**where, "test_clock": clock})


@route("POST", _PATH + "/{quote}/finalize")
def quote_finalize(world: World, params: Obj, quote_id: str) -> Obj:
    quote = world.get("quote", quote_id)
    if quote["status"] != "draft":
        raise wrong_state(f"Only a draft quote can be finalized. This one is {quote['status']}.")
    if quote["customer"] is None:
        raise missing("customer")
    if not quote["_lines"]:
        raise missing("line_items")
    _expiry(world, quote, params)
    old = world.maybe((quote["from_quote"] or {}).get("quote"))
    if old is not None and quote["from_quote"]["is_revision"]:
        first, _, number = old["number"].rpartition("-")
        quote["number"] = f"{first}-{int(number) + 1}"
        if old["status"] == "open":
            _cancel(world, old)
    else:
        prefix = world.fetch(quote["customer"])["invoice_prefix"]
        numbers = {
            one["number"].rpartition("-")[0] for one in world.find("quote", customer=quote["customer"]) if one["number"]
        }
        quote["number"] = f"QT-{prefix}-{len(numbers) + 1:04d}-1"
    quote["status"] = "open"
    quote["status_transitions"]["finalized_at"] = world.now
    return world.save(quote, "quote.finalized")


@route("POST", _PATH + "/{quote}/cancel")
def quote_cancel(world: World, params: Obj, quote_id: str) -> Obj:
    quote = world.get("quote", quote_id)
    if quote["status"] not in ("draft", "open"):
        raise wrong_state(f"Only a draft or open quote can be canceled. This one is {quote['status']}.")
    _cancel(world, quote)
    return quote


def _cancel(world: World, quote: Obj) -> None:
    quote["status"] = "canceled"
    quote["status_transitions"]["canceled_at"] = world.now
    world.save(quote, "quote.canceled")


@timer("quote", lambda quote: quote["expires_at"] if quote["status"] in ("draft", "open") else None)
def quote_expire(world: World, quote: Obj) -> None:
    """Its time is over: it is canceled."""
    _cancel(world, quote)


@route("POST", _PATH + "/{quote}/accept")
def quote_accept(world: World, params: Obj, quote_id: str) -> Obj:
    quote = world.get("quote", quote_id)
    if quote["status"] != "open":
        raise wrong_state(f"Only an open quote can be accepted. This one is {quote['status']}.")
    customer = customer_alive(world, quote["customer"])
    if any(line["price"]["type"] == "recurring" for line in quote["_lines"]):
        _subscribe(world, quote, customer)
    else:
        _invoice(world, quote)
    quote["status"] = "accepted"
    quote["status_transitions"]["accepted_at"] = world.now
    return world.save(quote, "quote.accepted")


def _subscribe(world: World, quote: Obj, customer: Obj) -> None:
    data, by_mail = quote["subscription_data"], quote["collection_method"] == "send_invoice"
    items = []
    for line in quote["_lines"]:
        rates = [rate["id"] for rate in quote["_rates"].get(line["id"], [])]
        quantity = {} if line["quantity"] is None else {"quantity": line["quantity"]}
        if line["price"]["type"] == "recurring":
            items.append({"price": line["price"]["id"], "tax_rates": rates, **quantity})
        else:
            given = {"pricing": {"price": line["price"]["id"]}, "tax_rates": rates, **quantity}
            world.save(item_make(world, customer, given), "invoiceitem.created")
    terms: Obj = {
        "items": items,
        "metadata": data["metadata"] or {},
        "discounts": quote["_coupons"],
        "default_tax_rates": [rate["id"] for rate in quote["default_tax_rates"]],
    }
    terms |= {name: data[name] for name in ("description",) if data[name]}
    if by_mail:
        terms["collection_method"] = "send_invoice"
    if (data["effective_date"] or 0) > world.now:
        settings = {"invoice_settings": {"days_until_due": quote["invoice_settings"]["days_until_due"]}}
        given = {"phases": [terms], "default_settings": settings}
        quote["subscription_schedule"] = schedule_make(world, customer, given, data["effective_date"])["id"]
        return
    if by_mail:
        terms["days_until_due"] = quote["invoice_settings"]["days_until_due"] or 30
    if data["trial_period_days"]:
        terms["trial_period_days"] = data["trial_period_days"]
    card = by_mail or default_method(world, customer["id"], None) is not None
    terms["payment_behavior"] = "allow_incomplete" if card else "default_incomplete"
    quote["subscription"] = subscription_make(world, customer, terms)["id"]


def _invoice(world: World, quote: Obj) -> None:
    by_mail = quote["collection_method"] == "send_invoice"
    days = quote["invoice_settings"]["days_until_due"] or 30
    given = {
        "customer": quote["customer"],
        "currency": quote["currency"],
        "collection_method": quote["collection_method"],
        "default_tax_rates": [rate["id"] for rate in quote["default_tax_rates"]],
        **({"days_until_due": days} if by_mail else {}),
    }
    invoice = invoice_create(world, given)
    for name in ("custom_fields", "description", "footer"):
        invoice[name] = quote["invoice_settings"][name]
    for line in quote["_lines"]:
        entry = {
            "pricing": {"price": line["price"]["id"]},
            "quantity": line["quantity"],
            "description": line["description"],
            "tax_rates": [rate["id"] for rate in quote["_rates"].get(line["id"], [])],
        }
        lines_add(world, {"lines": [entry]}, invoice["id"])
    if quote["_coupons"]:
        invoice_update(world, {"discounts": quote["_coupons"]}, invoice["id"])
    quote["invoice"] = invoice["id"]


@extra("quote", "line_items")
def quote_line_items(world: World, quote: Obj) -> Obj:
    """The lines, when asked for."""
    return listing(quote["_lines"][:10], f"{_PATH}/{quote['id']}/line_items", len(quote["_lines"]) > 10)


@route("GET", _PATH + "/{quote}/line_items")
def lines_list(world: World, params: Obj, quote_id: str) -> Obj:
    return slice_of(world.get("quote", quote_id)["_lines"], params, f"{_PATH}/{quote_id}/line_items")


@route("GET", _PATH + "/{quote}/computed_upfront_line_items")
def upfront_list(world: World, params: Obj, quote_id: str) -> Obj:
    quote = world.get("quote", quote_id)
    trial = bool(quote["subscription_data"]["trial_period_days"])
    lines = [line for line in quote["_lines"] if not trial or line["price"]["type"] == "one_time"]
    return slice_of(lines, params, f"{_PATH}/{quote_id}/computed_upfront_line_items")


@route("GET", _PATH + "/{quote}/pdf")
def quote_pdf(world: World, params: Obj, quote_id: str) -> Obj:
    quote = world.get("quote", quote_id)
    if quote["status"] == "draft":
        raise wrong_state("A quote has a PDF when it is finalized.")
    customer, currency = world.fetch(quote["customer"]), quote["currency"]
    lines = [
        f"For {customer['name'] or customer['email'] or customer['id']}",
        f"Valid until {day(quote['expires_at'])}",
        *([quote["header"]] if quote["header"] else []),
        "",
        *(
            row(f"{line['quantity'] or ''} {line['description']}", money(line["amount_total"], currency))
            for line in quote["_lines"]
        ),
        "",
        row("Total now", money(quote["amount_total"], currency)),
    ]
    if recurring := quote["computed"]["recurring"]:
        lines.append(row(f"Each {recurring['interval']}", money(recurring["amount_total"], currency)))
    return {"_file": pdf(f"Quote {quote['number']}", [*lines, "", *([quote["footer"]] if quote["footer"] else [])])}
