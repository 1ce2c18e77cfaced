"""Credit is drawn as usage is posted, stands in the ledger, and is taken off the bill once."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from django.db import DatabaseError, connection
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.ledger.lines import CREDIT
from billing.models import CreditDraw, CreditGrant, InvoiceLinePush, PeriodClose
from billing.selectors import wallet
from billing.selectors.bills import balances, invoice_preview
from billing.selectors.invariants import findings
from billing.selectors.wallet import SETTLING, balance_nano
from billing.services import credits
from billing.services.credits import credit_grant, credit_refund, credits_expire, credits_expire_all
from billing.services.invoicing import invoice_lines_push
from billing.services.ledger import lines_post, period_close
from kit.clock import now
from kit.errors import BadRequest, Conflict, NotFound
from kit.money import CENT
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import entitle
from tests.billing.test_ledger import MID_OCTOBER, OCTOBER, use
from tests.conftest import Cast, make_person

SEPTEMBER = dt.date(2026, 9, 1)


def give(tenant_id: uuid.UUID, kind: str, nano: int, **fields: object) -> uuid.UUID:
    with tenant_scope(tenant_id):
        made = credit_grant(kind=kind, amount_nano=nano, source=f"t:{uuid.uuid4()}", **fields)  # type: ignore[arg-type]
    return made.pk


def left(tenant_id: uuid.UUID) -> list[int]:
    """What each grant has left, oldest first."""
    with tenant_scope(tenant_id):
        return [int(one.left_nano) for one in wallet.with_left().order_by("created_at", "pk")]


def books(tenant_id: uuid.UUID) -> dict[str, int]:
    with tenant_scope(tenant_id):
        return {account: nano for account, nano in balances().items() if nano}


def right(tenant_id: uuid.UUID) -> None:
    assert [str(finding) for finding in findings([tenant_id])] == []


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dt.timedelta], None]]:
    """Moves the wallet's clock."""
    yield partial(go_on, monkeypatch)


def go_on(monkeypatch: pytest.MonkeyPatch, by: dt.timedelta) -> None:
    """The wallet's clock, later by so much."""
    for module in (wallet, credits):
        monkeypatch.setattr(module, "now", lambda: now() + by)


def test_promo_then_allowance_then_prepaid_then_the_invoice(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12, allowance_nano=1_000)
    give(tenant_id, "promo", 500)
    give(tenant_id, "prepaid", 700)
    use(tenant_id, 1, 400)
    lines_post(tenant_id=tenant_id)
    assert left(tenant_id) == [100, 700]
    use(tenant_id, 2, 1_000)
    lines_post(tenant_id=tenant_id)
    assert left(tenant_id) == [0, 700], "the allowance carries the rest"
    use(tenant_id, 3, 2_000)
    lines_post(tenant_id=tenant_id)
    assert left(tenant_id) == [0, 0]
    assert books(tenant_id) == {
        "unbilled": 2_200, "usage_revenue": -3_400, "discount": 500, "cash": 700,
    }  # fmt: skip
    right(tenant_id)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    assert [(line.key, line.amount_nano) for line in closed.lines[-2:]] == [("allowance", -1_000), (CREDIT, -1_200)]
    assert closed.close.net_nano == 1_200 == sum(line.amount_nano for line in closed.lines)
    assert books(tenant_id) == {
        "receivable": 1_200, "allowance": 1_000, "usage_revenue": -3_400, "discount": 500, "cash": 700,
    }  # fmt: skip
    assert period_close(tenant_id=tenant_id, period=OCTOBER).lines == closed.lines, "closed twice"
    right(tenant_id)


def test_what_credit_paid_is_not_on_the_invoice(cast: Cast, stripe_house: Emulator) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    give(tenant_id, "prepaid", 30 * CENT)
    use(tenant_id, 1, 100 * CENT)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    for _ in range(2):
        invoice_lines_push(tenant_id=tenant_id, period=OCTOBER, lines=closed.lines)
    with tenant_scope(tenant_id):
        asked = list(InvoiceLinePush.objects.order_by("amount_cents").values_list("amount_cents", flat=True))
    assert asked == [-30, 100]


def test_a_month_that_credit_paid_for_alone_asks_for_nothing(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    give(tenant_id, "prepaid", 10**9)
    entitle(tenant_id, spend_nano=10**12)
    use(tenant_id, 1, 5_000)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    assert (closed.close.usage_nano, closed.close.drawn_nano, closed.close.net_nano) == (5_000, 5_000, 0)
    assert left(tenant_id) == [10**9 - 5_000]
    right(tenant_id)


def test_the_same_source_is_credited_once(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    with tenant_scope(tenant_id):
        first = credit_grant(kind="prepaid", amount_nano=500, source="cs_1")
        assert credit_grant(kind="prepaid", amount_nano=900, source="cs_1") == first
        assert balance_nano() == 500
    assert books(tenant_id) == {"cash": 500, "prepaid": -500}


@pytest.mark.parametrize("nano", [0, -1, 10**18 + 1, True])
def test_an_amount_that_is_none_is_refused(cast: Cast, nano: int) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest):
        credit_grant(kind="promo", amount_nano=nano, source="s")


def test_credit_that_would_end_before_it_begins_is_refused(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(BadRequest):
        credit_grant(kind="promo", amount_nano=1, source="s", expires_at=now())


def test_an_allowance_that_grows_gives_bought_credit_back(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12, allowance_nano=100)
    give(tenant_id, "prepaid", 5_000)
    use(tenant_id, 1, 1_000)
    lines_post(tenant_id=tenant_id)
    assert left(tenant_id) == [4_100]
    entitle(tenant_id, spend_nano=10**12, allowance_nano=1_500)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    assert left(tenant_id) == [5_000] and (closed.close.drawn_nano, closed.close.net_nano) == (0, 0)
    right(tenant_id)


def test_credit_that_comes_pays_for_what_is_owed(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    use(tenant_id, 1, 1_000)
    lines_post(tenant_id=tenant_id)
    give(tenant_id, "prepaid", 5_000)
    assert left(tenant_id) == [4_000]
    with tenant_scope(tenant_id):
        preview = invoice_preview()
    assert (preview.usage_nano, preview.credit_nano, preview.net_nano) == (1_000, 1_000, 0)


def test_usage_that_arrives_after_its_close_is_paid_for_on_the_next_bill(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    give(tenant_id, "prepaid", 10_000)
    use(tenant_id, 1, 1_000, at=MID_OCTOBER - dt.timedelta(days=30))
    period_close(tenant_id=tenant_id, period=SEPTEMBER)
    use(tenant_id, 2, 400, at=MID_OCTOBER - dt.timedelta(days=30))
    use(tenant_id, 3, 60)
    closed = period_close(tenant_id=tenant_id, period=OCTOBER)
    assert (closed.close.usage_nano, closed.close.net_nano) == (460, 0)
    assert closed.close.drawn == {"2026-09": 400, "2026-10": 60}
    assert left(tenant_id) == [8_540]
    right(tenant_id)


def test_a_grant_that_ended_pays_for_a_while_and_then_its_rest_is_gone(
    cast: Cast, later: Callable[[dt.timedelta], None]
) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    hour = dt.timedelta(hours=1)
    give(tenant_id, "promo", 1_000, expires_at=now() + hour)
    give(tenant_id, "prepaid", 1_000, expires_at=now() + hour)
    later(hour + SETTLING / 2)
    with tenant_scope(tenant_id):
        assert balance_nano() == 0, "no call may count on it"
    use(tenant_id, 1, 600)
    lines_post(tenant_id=tenant_id)
    assert credits_expire(tenant_id=tenant_id) == 0
    assert left(tenant_id) == [400, 1_000], "usage of before was on its way"
    later(hour + 2 * SETTLING)
    assert credits_expire_all() >= 1_400
    assert credits_expire(tenant_id=tenant_id) == 0, "once"
    assert left(tenant_id) == [0, 0]
    assert books(tenant_id) == {"usage_revenue": -600, "discount": 600, "cash": 1_000, "breakage": -1_000}
    right(tenant_id)


def test_bought_credit_is_refunded_as_far_as_it_is_unused(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=10**12)
    grant = give(tenant_id, "prepaid", 1_000)
    given_away = give(tenant_id, "promo", 1_000)
    use(tenant_id, 1, 1_200)
    lines_post(tenant_id=tenant_id)
    with tenant_scope(tenant_id), pytest.raises(Conflict):
        credit_refund(grant_id=grant, amount_nano=801, reason="asked")
    with tenant_scope(tenant_id), pytest.raises(Conflict):
        credit_refund(grant_id=given_away, reason="asked")
    with tenant_scope(cast.stranger.tenant.id), pytest.raises(NotFound):
        credit_refund(grant_id=grant, reason="asked")
    with tenant_scope(tenant_id):
        assert credit_refund(grant_id=grant, amount_nano=300, reason="asked") == 300
        assert credit_refund(grant_id=grant, reason="asked") == 500
        with pytest.raises(Conflict):
            credit_refund(grant_id=grant, reason="asked")
    assert books(tenant_id)["refund"] == -800 and "prepaid" not in books(tenant_id)
    right(tenant_id)


@pytest.mark.parametrize("table", ["billing_creditgrant", "billing_creditdraw"])
def test_what_happened_to_credit_stays(cast: Cast, table: str) -> None:
    give(cast.owner.tenant.id, "promo", 5)
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET id = id"):
        with pytest.raises(DatabaseError, match="permission denied"), tenant_scope(cast.owner.tenant.id):
            with connection.cursor() as cursor:
                cursor.execute(statement)


KINDS = ("promo", "goodwill", "rollover", "prepaid")
steps = st.one_of(
    st.tuples(st.just("use"), st.integers(0, 500), st.integers(0, 80)),
    st.tuples(st.sampled_from(KINDS), st.integers(1, 9_000), st.integers(0, 3)),
    st.tuples(st.just("plan"), st.integers(0, 5_000), st.just(0)),
    st.tuples(st.sampled_from(["post", "close 9", "close 10", "expire", "refund"]), st.just(0), st.just(0)),
)


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure smaller takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(wanted=st.lists(steps, min_size=4, max_size=24))
def test_whatever_happens_in_whatever_order_the_books_are_right_to_the_nano(
    wanted: list[tuple[str, int, int]],
) -> None:
    tenant_id = make_person("wallet").tenant.id
    hours, used, bought = 0, 0, []
    entitle(tenant_id, spend_nano=10**12, allowance_nano=0)
    with pytest.MonkeyPatch.context() as patched:
        for number, (step, amount, more) in enumerate(wanted):
            for module in (wallet, credits):
                patched.setattr(module, "now", lambda hours=hours: now() + dt.timedelta(hours=hours))
            if step == "use":
                use(tenant_id, number, amount * 20, at=MID_OCTOBER - dt.timedelta(days=more))
                used += amount * 20
            elif step in KINDS:
                end = now() + dt.timedelta(hours=hours + more) if more else None
                grant = give(tenant_id, step, amount, expires_at=end)
                bought += [grant] if step == "prepaid" else []
            elif step == "plan":
                entitle(tenant_id, spend_nano=10**12, allowance_nano=amount)
            elif step == "post":
                lines_post(tenant_id=tenant_id)
            elif step == "expire":
                hours += 2
                for module in (wallet, credits):
                    patched.setattr(module, "now", lambda hours=hours: now() + dt.timedelta(hours=hours))
                credits_expire(tenant_id=tenant_id)
            elif step == "refund":
                with tenant_scope(tenant_id):
                    for grant in bought[-1:]:
                        if wallet.grant_of(grant).left_nano:
                            credit_refund(grant_id=grant, reason="asked")
            else:
                period_close(tenant_id=tenant_id, period=dt.date(2026, int(step.split()[1]), 1))
            right(tenant_id)
        # The bills that are still to come.
        for period in (SEPTEMBER, OCTOBER, dt.date(2026, 8, 1), dt.date(2026, 7, 1)):
            period_close(tenant_id=tenant_id, period=period)
        lines_post(tenant_id=tenant_id)
        right(tenant_id)
    with tenant_scope(tenant_id):
        closes = list(PeriodClose.objects.all())
        drawn = sum(CreditDraw.objects.filter(kind="used").values_list("amount_nano", flat=True))
        given_away = sum(CreditGrant.objects.values_list("amount_nano", flat=True))
        lost = sum(CreditDraw.objects.values_list("amount_nano", flat=True))
        late = sum(wallet.drawn_open().values())
    assert sum(books(tenant_id).values()) == 0
    # What came after its month was closed is on a bill that is still to come.
    assert used == sum(close.usage_nano for close in closes) + books(tenant_id).get("unbilled", 0) + late
    assert drawn == sum(close.drawn_nano for close in closes) + late
    assert all(close.usage_nano == close.net_nano + close.allowance_nano + close.drawn_nano for close in closes)
    assert all(close.net_nano >= 0 and close.allowance_nano >= 0 for close in closes)
    assert given_away - lost == sum(left(tenant_id))
