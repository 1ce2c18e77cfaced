"""Training again under the warranty: once by the customer, further by staff, within the term, measured and accepted."""

import datetime as dt
from typing import Any

import config.celery  # noqa: F401 - doorbells ring somewhere
from kit.clock import now
from orders.models import Contract, Milestone
from orders.services import retrain_left
from orders.tasks import dates
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.orders import accepted, all_delivered
from tests.orders.test_contracts import deliver, reported
from tests.orders.test_invoicing import asked
from tests.orders.test_orders import WHY, kinds, row_of

WRONG = "Since last week it mixes up two queues."


def retrain(person: Person, order: Any, text: str = WRONG) -> Any:
    """By the customer's form."""
    return person.browser.post(f"{person.workspace}/orders/{order.public_id}/retrain", {"text": text})


def newest(person: Person, order: Any) -> Milestone:
    """The last milestone."""
    with tenant_scope(person.tenant.id):
        found: Milestone = Milestone.objects.filter(contract__order=order).order_by("position").last()
        return found


def contract_of(person: Person, order: Any) -> Contract:
    """What was agreed."""
    with tenant_scope(person.tenant.id):
        found: Contract = Contract.objects.get(order=order)
        return found


def test_a_customer_starts_one_and_it_is_delivered_measured_and_accepted(ada: Person, staff: Person) -> None:
    order = all_delivered(ada)
    until = contract_of(ada, order).warranty_until
    before = [one.row.pk for one in asked(ada, order)]
    here = f"{ada.workspace}/orders/{order.public_id}/"
    assert "Start retrain" in ada.browser.get(here).content.decode()
    short = retrain(ada, order, "bad")
    assert short.status_code == 422 and "There is a problem" in short.content.decode()
    assert retrain(ada, order).status_code == 302
    assert row_of(ada, order).state == "working" and "warranty.retrain" in kinds(ada, order)
    step = newest(ada, order)
    assert (step.warranty, step.cents, step.metric, step.least) == (True, 0, "macro_f1", 0.8)
    page = ada.browser.get(here).content.decode()
    assert WRONG in page and "under the warranty" in page and "Start retrain" not in page
    assert retrain(ada, order).status_code == 422, "one at a time"
    model = reported(ada, 0.9)
    assert deliver(staff, step, model.model.name).status_code == 302
    assert "macro_f1 0.900" in ada.browser.get(here).content.decode()
    assert ada.browser.post(f"{here}milestones/{step.public_id}").status_code == 302
    assert row_of(ada, order).state == "delivered"
    assert contract_of(ada, order).warranty_until == until, "it is not begun anew"
    assert [one.row.pk for one in asked(ada, order)] == before, "it costs nothing"
    again = retrain(ada, order)
    assert again.status_code == 422 and "started a retrain under this warranty before" in again.content.decode()
    with tenant_scope(ada.tenant.id):
        assert AuditEvent.objects.filter(action="order.retrain", target_id=order.public_id).count() == 1


def test_staff_start_further_ones(ada: Person, staff: Person) -> None:
    order = all_delivered(ada)
    deed = f"/staff/orders/order/{order.pk}/retrain/"
    for n in (1, 2):
        assert staff.browser.post(deed, {"text": WRONG, "reason": WHY}).status_code == 302
        step = newest(ada, order)
        assert deliver(staff, step, reported(ada, 0.85).model.name).status_code == 302
        here = f"{ada.workspace}/orders/{order.public_id}/milestones/{step.public_id}"
        assert ada.browser.post(here).status_code == 302
        assert kinds(ada, order).count("warranty.retrain") == n
    assert row_of(ada, order).state == "delivered"


def test_none_starts_before_delivery_or_after_the_term(ada: Person, staff: Person) -> None:
    early = accepted(ada, deposit_bp=0)
    assert retrain(ada, early).status_code == 422
    order = all_delivered(ada)
    with tenant_scope(ada.tenant.id):
        Contract.objects.filter(order=order).update(warranty_until=now().date() - dt.timedelta(days=1))
        assert not retrain_left(order, Contract.objects.get(order=order))
    late = retrain(ada, order)
    assert late.status_code == 422 and "warranty ended on" in late.content.decode()
    refused = staff.browser.post(f"/staff/orders/order/{order.pk}/retrain/", {"text": WRONG, "reason": WHY})
    assert refused.status_code == 422
    dates()
    assert row_of(ada, order).state == "closed"


def test_an_order_in_a_retrain_is_not_closed_while_it_lasts(ada: Person) -> None:
    order = all_delivered(ada)
    assert retrain(ada, order).status_code == 302
    with tenant_scope(ada.tenant.id):
        Contract.objects.filter(order=order).update(warranty_until=now().date() - dt.timedelta(days=1))
    dates()
    assert row_of(ada, order).state == "working"
