"""Disputes: a bank takes a charge back. needs_response -> under_review -> won | lost."""

from __future__ import annotations

from billing.stripe_emulator.answers import assign, page
from billing.stripe_emulator.errors import StripeError, wrong_state
from billing.stripe_emulator.registry import listens, route, timer
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

ANSWER_WITHIN = 9 * 86400
FEE = 1500
REASONS = (
    "credit_not_processed",
    "duplicate",
    "fraudulent",
    "general",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)
# In test mode these words in `evidence.uncategorized_text` decide.
VERDICTS = {"winning_evidence": "won", "losing_evidence": "lost"}


def dispute_open(world: World, charge: Obj, *, amount: int | None = None, reason: str = "fraudulent") -> Obj:
    """The bank takes a charge, or a part of it, back. Raises for one that is not paid or already disputed."""
    if reason not in REASONS:
        raise StripeError(f"reason must be one of {', '.join(REASONS)}", param="reason")
    if charge["status"] != "succeeded" or charge["disputed"]:
        raise wrong_state("Only a paid charge that is not disputed yet can be disputed.")
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = left if amount is None else amount
    if not 0 < amount <= left:
        raise StripeError(f"The amount must be between 1 and what the charge has left ({left}).", param="amount")
    dispute = world.new(
        "dispute",
        "du",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        metadata={},
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="needs_response",
    )
    dispute["evidence_details"]["due_by"] = world.now + ANSWER_WITHIN
    dispute["payment_method_details"] = {
        "amazon_pay": None,
        "card": {
            "brand": charge["payment_method_details"]["card"]["brand"],
            "case_type": "chargeback",
            "network": None,
            "network_reason_code": None,
        },
        "klarna": None,
        "paypal": None,
        "type": "card",
    }
    dispute["payment_method_details"]["card"]["network"] = charge["payment_method_details"]["card"]["brand"]
    charge["disputed"] = True
    world.save(charge)
    world.save(dispute, "charge.dispute.created")
    _money(world, dispute, -amount, fee=FEE)
    world.save(dispute)
    world.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def _money(world: World, dispute: Obj, amount: int, *, fee: int) -> None:
    made = world.new(
        "balance_transaction",
        "txn",
        amount=amount,
        available_on=world.now,
        currency=dispute["currency"],
        description=f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {dispute['charge']}",
        fee=fee,
        net=amount - fee,
        reporting_category="dispute" if amount < 0 else "dispute_reversal",
        source=dispute["id"],
        status="available",
        type="adjustment",
    )
    dispute["balance_transactions"].append(world.save(made))


def dispute_close(world: World, dispute: Obj, status: str) -> None:
    """The end. What was won comes back; the fee does not."""
    if dispute["status"] in ("won", "lost"):
        raise wrong_state(f"This dispute is already {dispute['status']}.")
    if status not in ("won", "lost"):
        raise StripeError("status must be won or lost", param="status")
    dispute["status"] = status
    world.save(dispute, "charge.dispute.updated")
    world.emit("charge.dispute.closed", dispute)
    if status == "won":
        charge = world.fetch(dispute["charge"])
        charge["_dispute_won"] = True
        world.save(charge)
        _money(world, dispute, dispute["amount"], fee=0)
        world.save(dispute)
        world.emit("charge.dispute.funds_reinstated", dispute)


@listens("charge.succeeded")
def on_charge(world: World, charge: Obj) -> None:
    """Some test cards are disputed as soon as they are charged."""
    reason = world.fetch(charge["payment_method"]).get("_disputes")
    if reason:
        dispute_open(world, charge, reason=reason)


def dispute_due(dispute: Obj) -> int | None:
    """When silence loses it."""
    return dispute["evidence_details"]["due_by"] if dispute["status"] == "needs_response" else None


@timer("dispute", dispute_due)
def dispute_lapse(world: World, dispute: Obj) -> None:
    """Nobody answered in time."""
    dispute["evidence_details"]["past_due"] = True
    dispute_close(world, dispute, "lost")


@route("GET", "/v1/disputes/{dispute}")
def dispute_retrieve(world: World, params: Obj, dispute_id: str) -> Obj:
    return world.get("dispute", dispute_id)


@route("POST", "/v1/disputes/{dispute}")
def dispute_update(world: World, params: Obj, dispute_id: str) -> Obj:
    dispute = world.get("dispute", dispute_id)
    assign(dispute, params, "metadata")
    evidence = params.get("evidence") or {}
    if (evidence or params.get("submit")) and dispute["status"] != "needs_response":
        raise wrong_state(f"This dispute takes no evidence any more: it is {dispute['status'].replace('_', ' ')}.")
    for name in ("appeal", "enhanced_evidence"):
        if name in evidence:
            raise StripeError(f"The local emulator takes no {name} as evidence.", param=f"evidence[{name}]")
    dispute["evidence"].update({name: value or None for name, value in evidence.items()})
    if evidence:
        dispute["evidence_details"]["has_evidence"] = True
    # Evidence is handed in at once unless the call says that it is not complete yet.
    if evidence and params.get("submit", True):
        dispute["evidence_details"]["submission_count"] += 1
        dispute["status"] = "under_review"
    world.save(dispute, "charge.dispute.updated")
    verdict = VERDICTS.get(str(dispute["evidence"]["uncategorized_text"]))
    if dispute["status"] == "under_review" and verdict:
        dispute_close(world, dispute, verdict)
    return dispute


@route("POST", "/v1/disputes/{dispute}/close")
def dispute_close_call(world: World, params: Obj, dispute_id: str) -> Obj:
    dispute = world.get("dispute", dispute_id)
    dispute_close(world, dispute, "lost")
    return dispute


@route("GET", "/v1/disputes")
def dispute_list(world: World, params: Obj) -> Obj:
    where = {"charge": params.get("charge"), "payment_intent": params.get("payment_intent")}
    return page(world, "dispute", params, "/v1/disputes", where)


@route("GET", "/v1/balance_transactions/{id}")
def transaction_retrieve(world: World, params: Obj, transaction_id: str) -> Obj:
    return world.get("balance_transaction", transaction_id)


@route("GET", "/v1/balance_transactions")
def transaction_list(world: World, params: Obj) -> Obj:
    where = {"source": params.get("source"), "type": params.get("type"), "currency": params.get("currency")}
    return page(world, "balance_transaction", params, "/v1/balance_transactions", where)
