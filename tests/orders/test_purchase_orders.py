"""Purchase orders as documents: at the acceptance or later, by content and not by name, opened by both sides."""

from typing import Any

import pytest
from django.test import Client

import config.celery  # noqa: F401 - doorbells ring somewhere
from kit import storage
from orders.models import Acceptance, PurchaseOrder
from orders.services.purchase_orders import MOST, MOST_BYTES
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.isolation.orders import PDF, a_quote, accepted, an_order, purchase_order
from tests.orders.test_acceptance import accept
from tests.orders.test_orders import kinds, row_of

PNG, JPEG = b"\x89PNG\r\n\x1a\n" + b"0" * 40, b"\xff\xd8\xff\xe0" + b"0" * 40


def documents(person: Person, order: Any) -> list[PurchaseOrder]:
    """Of an order."""
    with tenant_scope(person.tenant.id):
        return list(PurchaseOrder.objects.filter(order=order).order_by("pk"))


def add(person: Person, order: Any, name: str, content: bytes) -> Any:
    """By the form of the order's page."""
    here = f"{person.workspace}/orders/{order.public_id}/purchase-orders"
    return person.browser.post(here, {"document": purchase_order(name, content)})


def test_a_purchase_order_that_comes_with_the_acceptance_is_opened_by_both_sides(ada: Person, staff: Person) -> None:
    order, _quote, token = a_quote(ada)
    assert accept(Client(), token, document=purchase_order("../PO 4711.pdf")).status_code == 302
    (row,) = documents(ada, order)
    assert (row.filename, row.content_type, row.bytes) == ("PO 4711.pdf", "application/pdf", len(PDF))
    assert kinds(ada, order)[-1] == "paper.added" and row_of(ada, order).state == "accepted"
    here = f"{ada.workspace}/orders/{order.public_id}/"
    page = ada.browser.get(here).content.decode()
    assert "PO 4711.pdf" in page and row.sha256 in page
    mine = ada.browser.get(f"{here}purchase-orders/{row.public_id}")
    theirs = staff.browser.get(f"/staff/purchase-orders/{row.pk}/")
    for answer in (mine, theirs):
        assert b"".join(answer.streaming_content) == PDF
        assert answer["Content-Disposition"].startswith("attachment")
    assert (
        f"/staff/purchase-orders/{row.pk}/"
        in staff.browser.get(f"/staff/orders/order/{order.pk}/change/").content.decode()
    )
    assert ada.browser.get(f"/staff/purchase-orders/{row.pk}/").status_code in (302, 404)
    told = ada.api.get(f"/v1/orders/{order.public_id}").json()["purchase_orders"]
    assert [one["sha256"] for one in told] == [row.sha256]
    with tenant_scope(ada.tenant.id):
        log = AuditEvent.objects.get(action="order.purchase_order_added", target_id=order.public_id)
    assert log.actor_kind == "link" and log.after["sha256"] == row.sha256


@pytest.mark.parametrize("content", [b"MZ" + b"0" * 99, b"<html><script>alert(1)</script>", b"", b"PK\x03\x04" + PDF])
def test_what_is_no_document_by_its_content_is_refused_and_nothing_is_accepted(ada: Person, content: bytes) -> None:
    order, _quote, token = a_quote(ada)
    answer = accept(Client(), token, document=purchase_order("po.pdf", content))
    assert answer.status_code == 422 and "There is a problem" in answer.content.decode()
    assert row_of(ada, order).state == "quoted" and documents(ada, order) == []
    with tenant_scope(ada.tenant.id):
        assert not Acceptance.objects.filter(revision__quote__order=order).exists()
    assert accept(Client(), token).status_code == 302, "without a document it can be accepted"


def test_documents_are_added_later_up_to_their_number(ada: Person) -> None:
    order = accepted(ada)
    for n in range(MOST):
        assert add(ada, order, f"{n}.png", PNG if n % 2 else JPEG).status_code == 302
    assert {row.content_type for row in documents(ada, order)} == {"image/png", "image/jpeg"}
    refused = add(ada, order, "more.png", PNG)
    assert refused.status_code == 422 and f"holds {MOST} purchase orders" in refused.content.decode()
    assert len(documents(ada, order)) == MOST


def test_no_lock_waits_for_the_storage(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    _order, _quote, token = a_quote(ada)
    order = accepted(ada)

    def away(*_: object) -> None:
        raise OSError("the storage does not answer")

    monkeypatch.setattr(storage, "read_chunks", away)
    assert add(ada, order, "po.png", PNG).status_code == 302
    assert accept(Client(), token, document=purchase_order()).status_code == 302


def test_nothing_is_kept_of_what_is_refused(ada: Person) -> None:
    order, early = accepted(ada), an_order(ada)
    assert add(ada, order, "first.pdf", PDF).status_code == 302
    folder = storage.folder_path(f"t/{ada.tenant.id}")
    assert folder is not None
    before = sorted(folder.rglob("*"))
    assert before
    assert add(ada, order, "big.pdf", PDF + b"0" * MOST_BYTES).status_code == 422
    assert add(ada, order, "bad.pdf", b"hello, hello").status_code == 422
    answer = add(ada, early, "po.pdf", PDF)
    assert answer.status_code == 422 and "from the acceptance of the quote" in answer.content.decode()
    assert len(documents(ada, order)) == 1 and documents(ada, early) == []
    assert sorted(folder.rglob("*")) == before


def test_a_form_of_another_site_is_refused(ada: Person) -> None:
    order = accepted(ada)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ada.user)
    here = f"{ada.workspace}/orders/{order.public_id}/purchase-orders"
    assert strict.post(here, {"document": purchase_order()}).status_code == 403
    _order, _quote, token = a_quote(ada)
    body = {"name": "Mallory", "title": "None", "agreed": "on"}
    assert Client(enforce_csrf_checks=True).post(f"/quotes/{token}", body).status_code == 403
    assert documents(ada, order) == []
