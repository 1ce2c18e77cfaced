"""Credit notes, the customer's balance, refunds and disputes."""

import urllib.error
from typing import Any

import pytest
import stripe

from tests.billing.emulated import Emulator


def invoiced(emulator: Emulator, amount: int = 2000, *, pay: bool = True) -> stripe.Invoice:
    """A finalised invoice of a new customer."""
    customer = emulator.customer()
    emulator.v1.invoice_items.create({"customer": customer.id, "amount": amount, "currency": "usd"})
    invoice = emulator.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    emulator.v1.invoices.finalize_invoice(invoice.id)
    return emulator.v1.invoices.pay(invoice.id) if pay else emulator.v1.invoices.retrieve(invoice.id)


def note(emulator: Emulator, invoice: stripe.Invoice, amount: int, **more: Any) -> stripe.CreditNote:
    return emulator.v1.credit_notes.create({"invoice": invoice.id, "amount": amount, **more})


def test_before_payment_it_lowers_what_is_to_be_paid(emulator: Emulator) -> None:
    invoice = invoiced(emulator, pay=False)
    made = note(emulator, invoice, 500, reason="order_change", memo="half the seats")
    assert (made.type, made.pre_payment_amount, made.post_payment_amount) == ("pre_payment", 500, 0)
    assert made.number == f"{invoice.number}-CN-01"
    found = emulator.v1.invoices.retrieve(invoice.id)
    assert (found.amount_due, found.amount_remaining, found.pre_payment_credit_notes_amount) == (1500, 1500, 500)
    paid = emulator.v1.invoices.pay(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert paid.payments.data[0].payment.payment_intent.amount_received == 1500  # type: ignore[union-attr]
    assert (paid.total, paid.amount_paid) == (2000, 1500)


def test_a_note_over_all_of_it_pays_an_open_invoice(emulator: Emulator) -> None:
    invoice = invoiced(emulator, pay=False)
    note(emulator, invoice, 2000)
    found = emulator.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.amount_paid, found.amount_remaining) == ("paid", 0, 0)
    payment = emulator.v1.invoice_payments.list({"invoice": invoice.id}).data[0]
    assert payment.status == "canceled"


def test_a_voided_note_gives_the_debt_back(emulator: Emulator) -> None:
    invoice = invoiced(emulator, pay=False)
    made = note(emulator, invoice, 500)
    assert emulator.v1.credit_notes.void_credit_note(made.id).status == "void"
    found = emulator.v1.invoices.retrieve(invoice.id)
    assert (found.amount_remaining, found.pre_payment_credit_notes_amount) == (2000, 0)
    with pytest.raises(stripe.InvalidRequestError, match="only void"):
        emulator.v1.credit_notes.void_credit_note(made.id)
    assert emulator.event_types(made.id) == ["credit_note.created", "credit_note.voided"]
    assert emulator.v1.invoices.pay(invoice.id).amount_paid == 2000


def test_after_payment_it_goes_where_the_call_says(emulator: Emulator) -> None:
    invoice = invoiced(emulator)
    made = note(emulator, invoice, 1000, refund_amount=500, credit_amount=300, out_of_band_amount=200)
    assert (made.type, made.post_payment_amount, made.out_of_band_amount) == ("post_payment", 1000, 200)
    refund = emulator.v1.refunds.retrieve(str(made.refunds[0].refund))
    assert (refund.amount, made.refunds[0].amount_refunded) == (500, 500)
    customer = emulator.v1.customers.retrieve(str(invoice.customer))
    assert customer.balance == -300
    move = emulator.v1.customers.balance_transactions.list(customer.id).data[0]
    assert (move.type, move.amount, move.credit_note, move.id) == (
        "credit_note",
        -300,
        made.id,
        made.customer_balance_transaction,
    )
    found = emulator.v1.invoices.retrieve(invoice.id)
    assert (found.post_payment_credit_notes_amount, found.amount_paid) == (1000, 2000)
    with pytest.raises(stripe.InvalidRequestError, match="only void"):
        emulator.v1.credit_notes.void_credit_note(made.id)


def test_a_refund_made_before_is_linked(emulator: Emulator) -> None:
    invoice = invoiced(emulator)
    paid = emulator.v1.invoices.retrieve(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    intent = paid.payments.data[0].payment.payment_intent  # type: ignore[union-attr]
    refund = emulator.v1.refunds.create({"payment_intent": intent.id, "amount": 700})  # type: ignore[union-attr]
    made = note(emulator, invoice, 700, refunds=[{"refund": refund.id}])
    assert made.refunds[0].refund == refund.id
    other = emulator.v1.refunds.create({"charge": charged(emulator), "amount": 100})
    with pytest.raises(stripe.InvalidRequestError, match="not of this invoice"):
        note(emulator, invoice, 100, refunds=[{"refund": other.id}])


@pytest.mark.parametrize(
    ("amount", "parts", "words"),
    [
        (1000, {}, "must equal the post payment amount"),
        (1000, {"refund_amount": 999}, "must equal"),
        (1000, {"refund_amount": 1500, "credit_amount": -500}, "must not be negative"),
        (2001, {"refund_amount": 2001}, "what the invoice has left"),
        (0, {}, "above 0"),
        (-5, {}, "above 0"),
    ],
)
def test_a_note_that_does_not_add_up_is_refused(
    emulator: Emulator, amount: int, parts: dict[str, int], words: str
) -> None:
    invoice = invoiced(emulator)
    with pytest.raises(stripe.InvalidRequestError, match=words):
        note(emulator, invoice, amount, **parts)
    assert emulator.v1.credit_notes.list({"invoice": invoice.id}).data == []
    assert emulator.v1.customers.retrieve(str(invoice.customer)).balance == 0


def test_several_notes_never_pass_the_invoice(emulator: Emulator) -> None:
    invoice = invoiced(emulator)
    note(emulator, invoice, 1500, refund_amount=1500)
    with pytest.raises(stripe.InvalidRequestError, match="left"):
        note(emulator, invoice, 501, out_of_band_amount=501)
    note(emulator, invoice, 500, out_of_band_amount=500)


def test_lines_name_what_is_credited(emulator: Emulator) -> None:
    invoice = invoiced(emulator)
    line = invoice.lines.data[0]
    wanted: Any = [
        {"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 400},
        {"type": "custom_line_item", "description": "Goodwill", "unit_amount": 50, "quantity": 2},
    ]
    params: Any = {"invoice": invoice.id, "lines": wanted, "refund_amount": 500}
    preview = emulator.v1.credit_notes.preview(params)
    assert (preview.total, emulator.v1.credit_notes.list({"invoice": invoice.id}).data) == (500, [])
    assert [entry.amount for entry in emulator.v1.credit_notes.preview_lines.list(params).data] == [400, 100]
    made = emulator.v1.credit_notes.create(params)
    assert [entry.amount for entry in emulator.v1.credit_notes.line_items.list(made.id).data] == [400, 100]
    too_much: Any = [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": 1601}]
    with pytest.raises(stripe.InvalidRequestError, match="1600 left"):
        emulator.v1.credit_notes.create({"invoice": invoice.id, "lines": too_much, "refund_amount": 1601})


def test_a_draft_takes_no_note(emulator: Emulator) -> None:
    draft = emulator.v1.invoices.create({"customer": emulator.customer().id})
    with pytest.raises(stripe.InvalidRequestError, match="open or paid"):
        note(emulator, draft, 1)


def test_every_move_of_the_balance_is_written_down(emulator: Emulator) -> None:
    customer = emulator.customer()
    emulator.v1.customers.balance_transactions.create(
        customer.id, {"amount": -500, "currency": "usd", "description": "welcome"}
    )
    emulator.v1.customers.update(customer.id, {"balance": -700})
    emulator.v1.invoice_items.create({"customer": customer.id, "amount": 600, "currency": "usd"})
    invoice = emulator.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    assert emulator.v1.invoices.finalize_invoice(invoice.id).status == "paid"
    moves = emulator.v1.customers.balance_transactions.list(customer.id).data
    assert [(move.type, move.amount, move.ending_balance) for move in moves] == [
        ("applied_to_invoice", 600, -100),
        ("adjustment", -200, -700),
        ("adjustment", -500, -500),
    ]
    assert moves[0].invoice == invoice.id


def test_a_voided_invoice_gives_used_credit_back(emulator: Emulator) -> None:
    customer = emulator.customer()
    emulator.v1.customers.update(customer.id, {"balance": -500})
    emulator.v1.invoice_items.create({"customer": customer.id, "amount": 600, "currency": "usd"})
    invoice = emulator.v1.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    assert emulator.v1.invoices.finalize_invoice(invoice.id).amount_due == 100
    emulator.v1.invoices.void_invoice(invoice.id)
    assert emulator.v1.customers.retrieve(customer.id).balance == -500


def test_a_balance_pays_invoices_in_its_own_currency_alone(emulator: Emulator) -> None:
    customer, v1 = emulator.customer(), emulator.v1
    v1.customers.balance_transactions.create(customer.id, {"amount": -500, "currency": "eur"})

    def asked(currency: str) -> tuple[int, int | None]:
        made = v1.invoices.create({"customer": customer.id, "currency": currency})
        v1.invoice_items.create({"customer": customer.id, "invoice": made.id, "amount": 700, "currency": currency})
        found = v1.invoices.finalize_invoice(made.id)
        return found.amount_due, found.ending_balance

    assert [asked("usd"), asked("eur"), asked("eur")] == [(700, 0), (200, 0), (700, 0)]
    v1.subscriptions.create({"customer": customer.id, "items": [{"price": emulator.price(900, currency="eur").id}]})
    v1.customers.update(customer.id, {"balance": -100})
    found = v1.customers.retrieve(customer.id)
    assert (found.currency, found.balance) == ("eur", -100)
    assert v1.invoices.create_preview({"customer": customer.id}).currency == "eur"


@pytest.mark.parametrize("params", [{"amount": 0, "currency": "usd"}, {"amount": 5}])
def test_a_move_of_the_balance_that_cannot_be_is_refused(emulator: Emulator, params: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        emulator.v1.customers.balance_transactions.create(emulator.customer(None).id, params)


def charged(emulator: Emulator, card: str = "pm_card_visa", amount: int = 900) -> str:
    intent = emulator.v1.payment_intents.create(
        {"amount": amount, "currency": "usd", "payment_method": card, "confirm": True}
    )
    return str(intent.latest_charge)


def test_a_dispute_takes_the_money_and_a_won_one_gives_it_back(emulator: Emulator) -> None:
    charge = charged(emulator)
    opened = emulator.control("/disputes", {"charge": charge, "reason": "product_not_received"})
    dispute = emulator.v1.disputes.retrieve(opened["id"])
    assert (dispute.status, dispute.amount, dispute.reason) == ("needs_response", 900, "product_not_received")
    assert (dispute.balance_transactions[0].amount, dispute.balance_transactions[0].fee) == (-900, 1500)
    assert emulator.v1.charges.retrieve(charge).disputed
    with pytest.raises(stripe.InvalidRequestError, match="charged back"):
        emulator.v1.refunds.create({"charge": charge})
    won = emulator.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert won.status == "won"
    assert emulator.event_types(dispute.id) == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    assert emulator.v1.refunds.create({"charge": charge}).amount == 900


def test_a_dispute_is_lost_by_giving_in_by_the_switch_and_by_silence(clockwork: Emulator) -> None:
    found = []
    for card in ("pm_card_createDispute", "pm_card_createDisputeProductNotReceived", "pm_card_createDispute"):
        charge = charged(clockwork, card)
        found.append(clockwork.v1.disputes.list({"charge": charge}).data[0])
    assert clockwork.v1.disputes.close(found[0].id).status == "lost"
    assert clockwork.control(f"/disputes/{found[1].id}/close", {"status": "lost"})["status"] == "lost"
    clockwork.advance(days=10)
    assert clockwork.v1.disputes.retrieve(found[2].id).status == "lost"
    assert clockwork.event_types(found[2].id)[-1] == "charge.dispute.closed"
    with pytest.raises(stripe.InvalidRequestError):
        clockwork.v1.disputes.close(found[0].id)


@pytest.mark.parametrize("body", [{}, {"amount": 901}, {"amount": "x"}, {"reason": "mood"}, {"charge": "ch_nobody"}])
def test_a_dispute_that_cannot_be_is_refused(emulator: Emulator, body: dict[str, Any]) -> None:
    charge = charged(emulator)
    if not body:
        emulator.control("/disputes", {"charge": charge})
    with pytest.raises(urllib.error.HTTPError) as caught:
        emulator.control("/disputes", {"charge": charge, **body})
    with caught.value as answer:
        assert answer.code == 400
