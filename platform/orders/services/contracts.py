"""What follows from an acceptance: the contract, its milestones, what is delivered for them, and their invoices.

An invoice is asked for in the transaction that makes it due (`invoicing`).
"""

import datetime as dt
from typing import Any

from billing.services.locks import money_lock
from kit.clock import now
from kit.errors import BadRequest, NotFound
from orders import states
from orders.errors import StepRefused
from orders.models import Acceptance, Contract, Milestone, Order, OrderInvoice, QuoteRevision
from orders.services.invoicing import invoice_ask
from orders.services.timeline import order_lock, say, step, tidy
from registry.models import ModelVersion
from tenants import audit
from tenants.scope import current_tenant_id

Actor = tuple[str, str, str]


def contract_make(*, order: Order, revision: QuoteRevision, acceptance: Acceptance, actor: Actor) -> Contract:
    """The contract of an accepted revision, its milestones, and the deposit's invoice where there is a deposit. Under
    the money lock."""
    made: Contract = Contract.objects.create(
        order=order,
        acceptance=acceptance,
        number=f"C-{revision.quote.number.removeprefix('Q-')}",
        total_cents=revision.total_cents,
        deposit_cents=revision.deposit_cents,
        net_days=revision.net_days,
        purchase_order=acceptance.purchase_order,
        terms_version=revision.terms_version,
        terms_sha256=revision.terms_sha256,
        dpa_version=revision.dpa_version,
        dpa_sha256=revision.dpa_sha256,
        warranty_days=revision.warranty_days,
        signed_at=acceptance.at,
    )
    for position, part in enumerate(revision.milestones):
        Milestone.objects.create(
            contract=made,
            position=position,
            title=part["title"],
            cents=part["cents"],
            due_on=acceptance.at.date() + dt.timedelta(days=part["days"]),
            metric=part["metric"],
            least=part["least"],
        )
    audit.record(
        action="contract.made",
        target=order,
        after={"contract": made.number, "total_cents": made.total_cents, "deposit_cents": made.deposit_cents},
        actor=actor,
    )
    say(order=order, kind="contract.made", side=states.SYSTEM, detail={"contract": made.number}, mail=False)
    if made.deposit_cents:
        invoice_ask(
            contract=made,
            kind=OrderInvoice.Kind.DEPOSIT,
            description=f"Deposit for {order.title}",
            cents=made.deposit_cents,
        )
    else:
        step(order=order, name="start_work", side=states.SYSTEM, kind="work.started", actor=actor, mail=False)
    return made


def milestone_deliver(*, milestone: Milestone, version: ModelVersion, reason: str = "") -> Milestone:
    """Hand a model over for a milestone, with what its report measured on held-out rows. StepRefused unless the order
    is in work and the milestone open; BadRequest where the report lacks the agreed figure."""
    order = order_lock(milestone.contract.order)
    row: Milestone = Milestone.objects.select_for_update().get(pk=milestone.pk)
    if order.state != states.WORKING or row.state == Milestone.State.ACCEPTED:
        raise StepRefused("A milestone is delivered while the order is in work and before it was accepted.")
    if version.model.project_id != order.project_id or version.state != ModelVersion.State.READY:
        raise NotFound.of(version.public_id)
    row.measured = measured(version.report, row.metric, row.least)
    if row.metric and row.measured is None:
        raise BadRequest(
            f"The report of {version.model.name} has no {row.metric} on held-out rows, which was agreed.",
            param="model",
        )
    row.model, row.version_id = version.model.name, version.pk
    row.state, row.delivered_at = Milestone.State.DELIVERED, now()
    row.save()
    detail = {"milestone": row.title, "model": row.model, "measured": row.measured}
    say(order=order, kind="milestone.delivered", side=states.STAFF, detail=detail)
    audit.record(action="milestone.delivered", target=order, after=detail, reason=reason)
    return row


def measured(report: dict[str, Any], metric: str, least: float | None) -> dict[str, Any] | None:
    """What a report says of a figure on rows that training never saw, and whether that is enough; None where it says
    nothing. Of a perplexity less is better; of everything else more."""
    figure = (report.get("test") or {}).get(metric)
    if not metric or least is None or figure is None:
        return None
    told = figure if isinstance(figure, dict) else {"value": figure}
    value = told.get("value")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    met = value <= least if metric == "perplexity" else value >= least
    return {
        "metric": metric,
        "value": float(value),
        "low": told.get("low"),
        "high": told.get("high"),
        "rows": told.get("n"),
        "least": least,
        "met": met,
    }


def milestone_accept(*, milestone: Milestone, by: str) -> Milestone:
    """The customer takes what was delivered; its invoice follows. After the last one the order is delivered and its
    warranty runs. StepRefused unless it was delivered; a figure that was missed does not bind the customer, who may
    take the model all the same. What the warranty made costs nothing, and the warranty's end stays."""
    money_lock(current_tenant_id())
    order = order_lock(milestone.contract.order)
    row: Milestone = Milestone.objects.select_for_update().get(pk=milestone.pk)
    if row.state != Milestone.State.DELIVERED:
        raise StepRefused("Only a delivered milestone can be accepted.")
    row.state, row.accepted_at, row.accepted_by = Milestone.State.ACCEPTED, now(), by[:254]
    row.save(update_fields=["state", "accepted_at", "accepted_by"])
    detail = {"milestone": row.title, "model": row.model}
    say(order=order, kind="milestone.accepted", side=states.CUSTOMER, who=by, detail=detail)
    audit.record(action="milestone.accepted", target=order, after=detail)
    contract = row.contract
    if row.cents:
        invoice_ask(
            contract=contract,
            kind=OrderInvoice.Kind.MILESTONE,
            description=f"{row.title} for {order.title}",
            cents=row.cents,
            milestone=row,
        )
    if not Milestone.objects.filter(contract=contract).exclude(state=Milestone.State.ACCEPTED).exists():
        if contract.warranty_until is None:
            contract.delivered_at = now()
            contract.warranty_until = contract.delivered_at.date() + dt.timedelta(days=contract.warranty_days)
            contract.save(update_fields=["delivered_at", "warranty_until"])
        told = {"warranty_until": contract.warranty_until.isoformat()}
        step(order=order, name="deliver", side=states.SYSTEM, kind="order.delivered", detail=told)
    return row


RETRAIN_DAYS = 30
"""Within which a retrain is to be delivered."""


def retrain_start(
    *, order: Order, text: str, side: str, milestone: Milestone | None = None, by: str = "", reason: str = ""
) -> Milestone:
    """Train again under the warranty: a milestone that costs nothing, measured by what was agreed for `milestone`, the
    last one with a figure unless named. The order is in work again until it is delivered and accepted.

    The customer starts one by a deed of their own; further ones staff start, who look first whether the terms give one.
    StepRefused unless everything is delivered and the warranty runs.
    """
    row = order_lock(order)
    contract: Contract | None = Contract.objects.select_for_update().filter(order=row).first()
    if row.state != states.DELIVERED or contract is None or contract.warranty_until is None:
        raise StepRefused("A retrain under the warranty follows the delivery of everything, one at a time.")
    if contract.warranty_until < now().date():
        raise StepRefused(f"The warranty ended on {contract.warranty_until}. Place a new order to train it again.")
    every = Milestone.objects.filter(contract=contract).order_by("position")
    if side == states.CUSTOMER and every.filter(warranty=True).exists():
        raise StepRefused("You have started a retrain under this warranty before. Write us what is wrong now.")
    agreed = milestone or every.exclude(metric="").filter(warranty=False).last() or every.filter(warranty=False).last()
    last = every.last()
    if agreed is None or last is None or agreed.contract_id != contract.pk:
        raise StepRefused("The order has no milestone that could be trained again.")
    said = tidy(text, least=10, what="What is wrong", param="text")
    made: Milestone = Milestone.objects.create(
        contract=contract,
        position=last.position + 1,
        title=f"Retrain: {agreed.title}"[:120],
        cents=0,
        due_on=now().date() + dt.timedelta(days=RETRAIN_DAYS),
        metric=agreed.metric,
        least=agreed.least,
        warranty=True,
    )
    detail = {"milestone": made.title, "due_on": made.due_on.isoformat()}
    step(order=row, name="retrain", side=side, kind="warranty.retrain", who=by, text=said, detail=detail, reason=reason)
    return made


def retrain_left(order: Order, contract: Contract | None) -> bool:
    """Whether the customer may start a retrain now."""
    if order.state != states.DELIVERED or contract is None or contract.warranty_until is None:
        return False
    begun = Milestone.objects.filter(contract=contract, warranty=True).exists()
    return contract.warranty_until >= now().date() and not begun


def warranties_due(*, contract: Contract) -> bool:
    """Two weeks before a warranty ends both sides are reminded, once; after its end the order is closed."""
    order = order_lock(contract.order)
    row: Contract = Contract.objects.select_for_update().get(pk=contract.pk)
    today = now().date()
    if order.state != states.DELIVERED or row.warranty_until is None:
        return False
    if row.warranty_until < today:
        step(order=order, name="close", side=states.SYSTEM, kind="order.closed")
        return True
    if row.reminded_at is None and row.warranty_until <= today + dt.timedelta(days=14):
        row.reminded_at = now()
        row.save(update_fields=["reminded_at"])
        told = {"warranty_until": row.warranty_until.isoformat()}
        say(order=order, kind="warranty.ends", side=states.SYSTEM, detail=told)
        return True
    return False
