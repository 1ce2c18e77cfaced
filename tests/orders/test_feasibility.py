"""Learning curves: the range holds what comes, and a sample is measured without costing the customer anything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import config.celery  # noqa: F401 - doorbells ring somewhere
from data.services import file_process
from orders.feasibility import FURTHEST, Curve, expected, fit
from orders.models import OrderEvent, OrderFile
from orders.services.assessing import feasibility_measure
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.console import things
from tests.isolation.orders import an_order
from tests.orders.test_orders import WHY, kinds

SIZES = (50, 100, 200, 400, 800)
CURVES = st.builds(Curve, a=st.floats(0.5, 0.99), b=st.floats(0.2, 3), c=st.floats(0.2, 1.0))


@given(CURVES)
@settings(max_examples=60)
def test_a_curve_without_noise_is_found_again(curve: Curve) -> None:
    found = fit(SIZES, [curve.a - curve.b * size**-curve.c for size in SIZES])
    for size in (50, 800, 3_200):
        assert abs(found.at(size) - curve.at(size)) < 0.03 or not 0 < curve.at(50) < 1


@given(CURVES, st.integers(0, 10_000))
@settings(max_examples=60)
def test_a_range_is_in_order_and_within_bounds(curve: Curve, seed: int) -> None:
    random = np.random.default_rng(seed)
    measured = {size: [min(1, max(0, curve.at(size) + e)) for e in random.normal(0, 0.02, 3)] for size in SIZES}
    for rows in (100, 800, 8_000):
        found = expected(measured, rows)
        assert 0 <= found.low <= found.value <= found.high <= 1
    near, far = expected(measured, 1_600), expected(measured, 8_000)
    assert near.rows < far.rows


def test_nine_of_ten_ranges_hold_what_the_curve_goes_on_to() -> None:
    random, held = np.random.default_rng(1), 0
    for _ in range(60):
        curve = Curve(random.uniform(0.7, 0.98), random.uniform(0.5, 3), random.uniform(0.3, 0.8))
        measured = {size: [curve.at(size) + e for e in random.normal(0, 0.015, 3)] for size in SIZES}
        found = expected(measured, 3_200)
        held += found.low <= curve.at(3_200) <= found.high
    assert held >= 54


def test_too_few_sizes_and_too_far_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 4"):
        expected({10: [0.5], 20: [0.6], 40: [0.7]}, 80)
    with pytest.raises(ValueError, match="more than 10 times"):
        expected({size: [0.5, 0.6] for size in SIZES}, FURTHEST * 800 + 1)
    with pytest.raises(ValueError, match="two sizes"):
        fit([10, 10], [0.5, 0.6])


def test_a_sample_is_measured_and_both_sides_read_what_to_expect(ada: Person, staff: Person) -> None:
    file = things.made_file(ada, content=things.csv_bytes(80))
    order = an_order(ada, file_ids=[file.public_id])
    here = f"/staff/orders/order/{order.pk}/measure/"
    assert staff.browser.post(here, {"rows": "2000", "reason": WHY}).status_code == 302
    with tenant_scope(ada.tenant.id):
        shown = OrderFile.objects.get(order=order)
    assert feasibility_measure(tenant_id=ada.tenant.id, shown_id=shown.pk, rows=2_000) == "feasibility.measured"
    assert feasibility_measure(tenant_id=ada.tenant.id, shown_id=shown.pk, rows=2_000) == "", "twice is once"
    assert kinds(ada, order).count("feasibility.measured") == 1
    with tenant_scope(ada.tenant.id):
        detail = OrderEvent.objects.get(order=order, kind="feasibility.measured").detail
    assert len(detail["points"]) == 5 and all(len(point["values"]) == 3 for point in detail["points"])
    assert 0 <= detail["expected"]["low"] <= detail["expected"]["high"] <= 1
    page = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert "What can be expected" in page and "<svg" in page


def test_a_sample_that_says_too_little_is_said_to(ada: Person, staff: Person) -> None:
    order = an_order(ada)
    here = f"/staff/orders/order/{order.pk}/measure/"
    refused = staff.browser.post(here, {"rows": "2000", "reason": WHY})
    assert refused.status_code == 422 and "No sample" in refused.content.decode()
    file = things.made_file(ada, content=b"text,label\n" + b"where is my refund,refund\nhow are you,talk\n" * 5)
    order = an_order(ada, file_ids=[file.public_id])
    file_process(tenant_id=ada.tenant.id, file_id=file.pk)
    with tenant_scope(ada.tenant.id):
        shown = OrderFile.objects.get(order=order)
    assert feasibility_measure(tenant_id=ada.tenant.id, shown_id=shown.pk, rows=500) == "feasibility.refused"
    page = ada.browser.get(f"{ada.workspace}/orders/{order.public_id}/").content.decode()
    assert "160 are needed" in page
