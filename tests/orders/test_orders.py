"""An order from its brief: the form with a data sample, the API, the timeline of both sides, and what is refused."""

import io
from typing import Any

import pytest
from django.core import mail

import config.celery  # noqa: F401 - doorbells ring somewhere
from hooks.models import Event
from kit.clock import now
from ops.models import StaffAction
from orders.models import Order, OrderEvent, OrderFile
from orders.services import event_mail
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.console import things
from tests.isolation.orders import BRIEF, a_quote, an_order

WHY = "they asked for it, ticket 4711"


def row_of(person: Person, order: Order) -> Order:
    """As it is now."""
    with tenant_scope(person.tenant.id):
        found: Order = Order.objects.get(pk=order.pk)
        return found


def kinds(person: Person, order: Order) -> list[str]:
    """Its timeline, the oldest first."""
    with tenant_scope(person.tenant.id):
        return list(OrderEvent.objects.filter(order=order).order_by("at", "pk").values_list("kind", flat=True))


def test_a_brief_with_a_data_sample_becomes_an_order_with_a_checked_file(ada: Person) -> None:
    sample = io.BytesIO(things.csv_bytes())
    sample.name = "tickets.csv"
    body = {**BRIEF, "title": "Ticket triage", "calls_per_month": "120000", "file": sample}
    answer = ada.browser.post(f"{ada.workspace}/orders/new", body)
    assert answer.status_code == 302
    page = ada.browser.get(answer["Location"]).content.decode()
    assert "tickets.csv" in page and "Brief received" in page and "120,000" in page
    with tenant_scope(ada.tenant.id):
        order = Order.objects.order_by("-pk").first()
        (shown,) = OrderFile.objects.filter(order=order).select_related("file")
        assert shown.file.purpose == "fine-tune" and shown.file.status == "uploaded"
        assert AuditEvent.objects.filter(action="order.created", target_id=order.public_id).exists()
    assert "Ticket triage" in ada.browser.get(f"{ada.workspace}/orders/").content.decode()


def test_a_file_that_was_refused_is_not_kept_and_nothing_typed_is_lost(ada: Person) -> None:
    sample = io.BytesIO(b"a,b\n1,2\n")
    sample.name = "x.csv"
    body = {**BRIEF, "brief": "too short", "file": sample}
    answer = ada.browser.post(f"{ada.workspace}/orders/new", body)
    text = answer.content.decode()
    assert answer.status_code == 422 and "from 20 to 10,000 characters" in text and "too short" in text
    with tenant_scope(ada.tenant.id):
        from data.models import File

        assert not File.objects.filter(filename="x.csv").exists()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("title", "x" * 121, "120"),
        ("task", "magic", "classification"),
        ("brief", "short", "20 to 10,000"),
        ("contact", "nobody", "e-mail address"),
        ("calls_per_month", -1, "0 to"),
        ("calls_per_month", 1.5, "whole number"),
        ("wanted_by", "2001-01-01", "from today on"),
        ("wanted_by", "soon", "Date"),
        ("file_ids", ["file-nobody"], "No such object"),
    ],
)
def test_a_brief_that_cannot_be_is_refused_in_words(ada: Person, field: str, value: Any, words: str) -> None:
    answer = ada.api.post("/v1/orders", {**BRIEF, field: value})
    assert answer.status_code in (400, 404), answer.content
    error = answer.json()["error"]
    assert words in error["message"] and error["param"], error


def test_a_plan_without_custom_models_says_which_plan_has_them() -> None:
    eve = make_person("eve")
    answer = eve.api.post("/v1/orders", BRIEF)
    assert answer.status_code == 403 and "Enterprise" in answer.json()["error"]["message"]
    assert eve.browser.get(f"{eve.workspace}/orders/new").status_code == 403
    assert "Enterprise plan" in eve.browser.get(f"{eve.workspace}/orders/").content.decode()


def test_the_api_tells_an_order_as_it_stands(ada: Person) -> None:
    made = ada.api.post("/v1/orders", {**BRIEF, "title": "By API", "wanted_by": f"{now().year + 1}-06-01"}).json()
    assert made["status"] == "submitted" and made["quote"] is None and made["invoices"] == []
    assert ada.api.get(f"/v1/orders/{made['id']}").json() == made
    assert made["id"] in [one["id"] for one in ada.api.get("/v1/orders").json()["data"]]
    said = ada.api.post(f"/v1/orders/{made['id']}/events", {"text": "Two\nlines"}).json()
    assert said["message"] == "Message\nTwo\nlines" and said["side"] == "customer"
    events = ada.api.get(f"/v1/orders/{made['id']}/events").json()["data"]
    assert [one["type"] for one in events] == ["message", "order.submitted"]
    cancelled = ada.api.post(f"/v1/orders/{made['id']}/cancel", {"reason": "no budget"}).json()
    assert cancelled["status"] == "cancelled"
    again = ada.api.post(f"/v1/orders/{made['id']}/cancel")
    assert again.status_code == 409 and "cancelled" in again.json()["error"]["message"]


def test_staff_read_the_same_timeline_and_answer_in_it(ada: Person, staff: Person) -> None:
    order = an_order(ada, title="Read by both")
    here = f"/staff/orders/order/{order.pk}"
    assert staff.browser.post(f"{here}/message/", {"text": "Which languages?", "reason": WHY}).status_code == 302
    for page in (staff.browser.get(f"{here}/change/"), ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/")):
        assert "Which languages?" in page.content.decode()
    theirs = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert staff.user.email not in theirs and WHY not in theirs, "who of us and why is in the logs"
    line = StaffAction.objects.filter(action="order.message", target_id=order.public_id).get()
    assert (line.actor_label, line.reason) == (staff.user.email, WHY)
    with tenant_scope(ada.tenant.id):
        event = AuditEvent.objects.get(action="order.message", target_id=order.public_id)
        assert (event.actor_kind, event.reason) == ("staff", WHY)
        (said,) = OrderEvent.objects.filter(order=order, kind="message")
    mail.outbox.clear()
    assert event_mail(tenant_id=ada.tenant.id, event_id=said.pk) == 1
    assert mail.outbox[0].to == [order.contact] and order.public_id in mail.outbox[0].body


def test_an_order_that_is_declined_says_why_and_takes_no_further_step(ada: Person, staff: Person) -> None:
    order = an_order(ada, title="Not for us")
    here = f"/staff/orders/order/{order.pk}"
    assert staff.browser.post(f"{here}/assess/", {"reason": WHY}).status_code == 302
    assert row_of(ada, order).state == "assessing"
    body = {"text": "There is too little data for this.", "reason": WHY}
    assert staff.browser.post(f"{here}/decline/", body).status_code == 302
    assert row_of(ada, order).state == "declined"
    assert "too little data" in ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    refused = staff.browser.post(f"{here}/assess/", {"reason": WHY})
    assert refused.status_code == 422 and "not possible" in refused.content.decode()
    with tenant_scope(ada.tenant.id):
        told = Event.objects.filter(type="tunesmith.order.declined", data__id=order.public_id)
        assert told.count() == 1


def test_a_cancelled_order_takes_its_quote_along(ada: Person) -> None:
    order, _quote, token = a_quote(ada)
    assert ada.browser.post(f"{ada.workspace}/orders/{order.public_id}/cancel").status_code == 302
    assert ada.browser.get(f"/quotes/{token}").status_code == 404
    assert kinds(ada, order)[-1] == "order.cancelled"
