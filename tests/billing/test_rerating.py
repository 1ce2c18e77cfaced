"""Usage priced anew: by a line of its own in an open month, by credit for one that was billed, never by change."""

from __future__ import annotations

import csv
import datetime as dt
import io
import uuid
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.lines import RERATED
from billing.ledger.repricing import Alike, Earlier, changes
from billing.models import (
    Budget,
    BudgetLease,
    CreditGrant,
    CreditNote,
    Invoice,
    InvoiceLinePush,
    PeriodClose,
    RatedChange,
    RatedLine,
    Rerating,
    UsageEvent,
)
from billing.periods import bounds, from_ms, month_of, to_ms
from billing.prices import Price, PriceBooks, PriceVersion, Usage, price_books
from billing.quotas import QuotaStore
from billing.selectors.bills import balances, invoice_preview
from billing.selectors.budgets import WALLET, budget_month
from billing.selectors.wallet import balance_nano
from billing.services import ledger, rerating
from billing.services.credits import credit_grant
from billing.services.ledger import lines_post, period_close
from billing.services.metering import usage_rollup
from billing.services.rerating import Wanted, rerate
from kit.clock import now
from kit.errors import BadRequest, Conflict
from kit.money import CENT
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.money import call, store_events
from tests.billing.test_credits import give
from tests.billing.test_funds import ask, cap, limited, settled, spend_all
from tests.conftest import Cast, Person

OLD, CHEAP, DEAR = "2026-11-01", "test-cheap", "test-dear"
OCTOBER = dt.date(2026, 10, 1)
IN_OCTOBER = dt.datetime(2026, 10, 15, 12, tzinfo=dt.UTC)
PER_TOKEN = {OLD: 20, CHEAP: 5, DEAR: 30}


def version(name: str, per_token: int) -> PriceVersion:
    return PriceVersion(
        version=name, effective_from_ms=0, kinds={"classify": {"default": Price(input_token=per_token)}}
    )


@pytest.fixture(autouse=True)
def books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two more price versions, which nobody published."""
    known = price_books()
    more = known.versions | {name: version(name, PER_TOKEN[name]) for name in (CHEAP, DEAR)}
    monkeypatch.setattr(rerating, "price_books", lambda: PriceBooks(more))


@pytest.fixture
def used(cast: Cast) -> Person:
    """1,000 and 200 tokens of today, 3,000 of October; the second call cost half of its price."""
    tenant_id = cast.owner.tenant.id
    whole = [
        call(tenant_id, 1, cost=20_000, at=now()),
        call(tenant_id, 2, cost=4_000, at=now()),
        call(tenant_id, 3, cost=60_000, at=IN_OCTOBER),
    ]
    store_events([whole[0], msgspec.structs.replace(whole[1], cost_nano=2_000), whole[2]])
    summed(tenant_id)
    return cast.owner


def summed(tenant_id: uuid.UUID) -> None:
    while usage_rollup(tenant_id=tenant_id):
        pass
    lines_post(tenant_id=tenant_id)


def today(to: str = CHEAP, **more: str) -> Wanted:
    return Wanted(now().date(), now().date(), to, **more)


def october(to: str = CHEAP) -> Wanted:
    return Wanted(OCTOBER, dt.date(2026, 10, 31), to)


def done(person: Person, wanted: Wanted) -> Rerating | None:
    found = rerate(tenant_id=person.tenant.id, wanted=wanted, reason="The price was wrong", created_by="staff")
    call_command("billing_check", tenant=[person.tenant.id])
    return found


def test_an_open_month_gets_a_line_of_its_own_and_the_same_again_changes_nothing(used: Person) -> None:
    tenant_id = used.tenant.id
    with tenant_scope(tenant_id):
        events = list(UsageEvent.objects.order_by("pk").values())
    assert done(used, today()) is not None
    with tenant_scope(tenant_id):
        line = RatedLine.objects.get(price_version=RERATED + OLD)
        preview, books = invoice_preview(), balances()
        assert list(UsageEvent.objects.order_by("pk").values()) == events, "no event was touched"
        assert AuditEvent.objects.filter(action="usage.rerated").count() == 1
    assert line.amount_nano == line.posted_nano == -15 * 1_000 - 2_000, "what call 2 was let off it stays let off"
    assert books["usage_revenue"] == -(60_000 + 22_000 - 17_000)
    texts = {one.description: one.amount_nano for one in preview.lines}
    assert texts["Classification · all-MiniLM-L6-v2, priced anew"] == -17_000
    assert done(used, today()) is None
    assert done(used, today(DEAR)) is not None, "an open month may become dearer"
    with tenant_scope(tenant_id):
        assert RatedLine.objects.get(price_version=RERATED + OLD).amount_nano == 10 * 1_000 + (200 * 30 - 2_000 - 2_000)
    assert done(used, today(OLD)) is not None, "and be put back"
    with tenant_scope(tenant_id):
        assert RatedLine.objects.get(price_version=RERATED + OLD).posted_nano == 0
        assert RatedChange.objects.count() == 3


def test_a_late_call_is_priced_anew_when_it_is_done_again(used: Person) -> None:
    done(used, today())
    store_events([call(used.tenant.id, 9, cost=2_000, at=now())])
    summed(used.tenant.id)
    assert done(used, today()) is not None
    with tenant_scope(used.tenant.id):
        assert RatedLine.objects.get(price_version=RERATED + OLD).amount_nano == -17_000 - 1_500


def test_only_the_kind_and_the_base_that_were_named_are_priced_anew(used: Person) -> None:
    store_events([call(used.tenant.id, 8, cost=2_000, at=now(), kind="embeddings", model="all-MiniLM-L6-v2")])
    summed(used.tenant.id)
    with pytest.raises(BadRequest, match="does not sell 'embeddings'"):
        done(used, today())
    assert done(used, today(kind="classify", base="another")) is None
    assert done(used, today(kind="classify", base="all-MiniLM-L6-v2")) is not None


@pytest.mark.parametrize(("allowance", "given"), [(0, 45_000), (30_000, 30_000), (60_000, 0)])
def test_a_month_that_was_billed_gives_back_what_was_paid_too_much(used: Person, allowance: int, given: int) -> None:
    tenant_id = used.tenant.id
    bill = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=allowance).close
    with pytest.raises(Conflict, match="never becomes dearer"):
        done(used, october(DEAR))
    assert done(used, october()) is not None
    with tenant_scope(tenant_id):
        assert PeriodClose.objects.get().lines == bill.lines, "the bill stands"
        grants = [(one.kind, one.amount_nano) for one in CreditGrant.objects.all()]
    assert grants == ([("goodwill", given)] if given else [])
    assert done(used, october()) is None


@pytest.mark.parametrize(("allowance", "credited"), [(0, 45_000 - 22_000), (50_000, 10_000), (60_000, 0)])
def test_a_bill_that_a_correction_made_less_than_nothing_is_handed_on_as_credit_once(
    used: Person, monkeypatch: pytest.MonkeyPatch, allowance: int, credited: int
) -> None:
    """A month is priced anew and closed before the correction is posted, as it could be once; it comes on the next
    bill."""
    tenant_id = used.tenant.id
    with monkeypatch.context() as patch:
        patch.setattr(rerating, "lines_post_here", lambda months=(): 0)
        patch.setattr(ledger, "lines_post_here", lambda months=(): 0)
        assert rerate(tenant_id=tenant_id, wanted=october(), reason="wrong", created_by="staff") is not None
        bill = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=allowance).close
    assert (bill.usage_nano, bill.net_nano) == (60_000, 60_000 - allowance)
    lines_post(tenant_id=tenant_id)
    running = month_of(now())
    monkeypatch.setattr(ledger, "now", lambda: now() + dt.timedelta(days=62))
    for _ in range(2):
        close = period_close(tenant_id=tenant_id, period=running, allowance_nano=0).close
        call_command("billing_check", tenant=[tenant_id])
    assert (close.usage_nano, close.net_nano) == (22_000 - 45_000, 0)
    assert sum(line["amount_nano"] for line in close.lines if line["key"] == "given") == credited
    with tenant_scope(tenant_id):
        grants = list(CreditGrant.objects.values_list("kind", "amount_nano", "source"))
        assert not InvoiceLinePush.objects.exists()
        found = {account: nano for account, nano in balances().items() if nano}
    source = f"rerating:2026-10:close:{running:%Y-%m}"
    assert grants == ([("goodwill", credited, source)] if credited else [])
    assert found.get("promo", 0) == -credited and found["usage_revenue"] == -(82_000 - 45_000)


DOLLAR = 10**9


@pytest.mark.parametrize(
    ("told", "note", "given"),
    [
        ({"status": "paid", "amount_paid": 100}, None, 75),
        ({"status": "paid", "amount_paid": 100}, (40, 0), 60),
        ({"status": "paid", "amount_paid": 70, "pre_payment_credit_notes_amount": 30}, (30, 30), 70),
        ({"status": "open", "amount_paid": 0}, None, 0),
        ({"status": "void", "amount_paid": 0}, None, 0),
        ({"status": "uncollectible", "amount_paid": 60}, None, 60),
        ({"status": "paid", "amount_paid": 100, "currency": "eur"}, None, 0),
    ],
)
def test_what_nobody_paid_of_a_bill_or_got_back_is_not_given_again(
    cast: Cast, told: dict[str, Any], note: tuple[int, int] | None, given: int
) -> None:
    """A month of one dollar becomes 75 cents cheaper."""
    tenant_id = cast.owner.tenant.id
    store_events([call(tenant_id, 1, cost=DOLLAR, at=IN_OCTOBER)])
    summed(tenant_id)
    bill = period_close(tenant_id=tenant_id, period=OCTOBER, allowance_nano=0).close
    with tenant_scope(tenant_id):
        push = InvoiceLinePush.objects.create(
            period=OCTOBER, line_key=bill.lines[0]["key"], description="d", amount_nano=DOLLAR, amount_cents=100
        )
        columns = {"currency": "usd", "total": 100, **told}
        early = int(columns.pop("pre_payment_credit_notes_amount", 0))
        raw = {
            "subtotal": 100,
            "starting_balance": 0,
            "ending_balance": 0,
            "pre_payment_credit_notes_amount": early,
            "lines": {"data": [{"amount": 100, "metadata": {"push": str(push.pk)}}]},
        }
        Invoice.objects.create(
            stripe_id=f"in_{tenant_id.hex}", amount_due=100 - early, issued_at=now(), raw=raw, **columns
        )
        if note is not None:
            CreditNote.objects.create(
                stripe_id=f"cn_{tenant_id.hex}", invoice_id=f"in_{tenant_id.hex}", status="issued", currency="usd",
                amount=note[0], created_at=now(), raw={"pre_payment_amount": note[1]},
            )  # fmt: skip
    assert rerate(tenant_id=tenant_id, wanted=october(), reason="The price was wrong", created_by="staff") is not None
    with tenant_scope(tenant_id):
        assert [one.amount_nano for one in CreditGrant.objects.all()] == ([given * CENT] if given else [])


def test_credit_that_paid_too_much_gets_it_back(used: Person) -> None:
    tenant_id = used.tenant.id
    with tenant_scope(tenant_id):
        credit_grant(kind="promo", amount_nano=70_000, source="a gift")
    store_events([call(tenant_id, 4, cost=20_000, at=now())])
    summed(tenant_id)
    with tenant_scope(tenant_id):
        assert balance_nano() == 50_000
    assert done(used, today()) is not None
    with tenant_scope(tenant_id):
        assert balance_nano() == 60_000, "today's calls cost 10,000 now, and all of it is the gift's"


def test_what_cannot_be_is_refused_and_changes_nothing(used: Person) -> None:
    day = now().date()
    for wanted, text in (
        (Wanted(day, day - dt.timedelta(days=1), CHEAP), "first day"),
        (Wanted(day, day + dt.timedelta(days=1), CHEAP), "today"),
        (Wanted(day, day, "1999-01-01"), "no price version '1999-01-01'"),
    ):
        with pytest.raises(BadRequest, match=text):
            done(used, wanted)
    with tenant_scope(used.tenant.id):
        assert not Rerating.objects.exists()


def test_the_command_tries_first_and_does_it_when_told(used: Person, capsys: pytest.CaptureFixture[str]) -> None:
    day = f"{now():%Y-%m-%d}"
    asked = [used.tenant.slug, "--from", day, "--until", day, "--to", CHEAP]
    call_command("rerate", *asked)
    said = capsys.readouterr()
    rows = list(csv.reader(io.StringIO(said.out)))
    assert len(rows) == 2
    assert rows[1][4:] == [OLD, "2", "22000", "5000"]
    assert "1 lines would change, by -17000 nano-USD" in said.err
    with tenant_scope(used.tenant.id):
        assert not Rerating.objects.exists()
    call_command("rerate", *asked, "--apply", "The price was wrong")
    with tenant_scope(used.tenant.id):
        assert Rerating.objects.get().reason == "The price was wrong"
    with pytest.raises(CommandError, match="no organisation 'nobody'"):
        call_command("rerate", "nobody", *asked[1:])


def test_what_a_cheaper_price_gives_back_can_be_spent_to_the_nano(cast: Cast, store: QuotaStore) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 20_000)
    settled(store, tenant_id, ask(store, tenant_id, 20_000), 20_000)
    summed(tenant_id)
    assert spend_all(store, tenant_id, 100) == 0
    with tenant_scope(tenant_id):
        rest = budget_month(scope=WALLET, scope_id=tenant_id.hex)
    assert rest is not None and (rest.cap_nano, rest.promised_nano, rest.spent_nano) == (20_000, 20_000, 20_000)
    assert done(cast.owner, today()) is not None
    with tenant_scope(tenant_id):
        assert balance_nano() == 15_000
        rest = budget_month(scope=WALLET, scope_id=tenant_id.hex)
    assert rest is not None and (rest.cap_nano, rest.promised_nano, rest.spent_nano) == (20_000, 5_000, 5_000)
    assert spend_all(store, tenant_id, 100) == 15_000


def test_after_a_dearer_price_nothing_beyond_credit_is_admitted(cast: Cast, store: QuotaStore) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 100_000)
    settled(store, tenant_id, ask(store, tenant_id, 40_000), 40_000)
    summed(tenant_id)
    assert done(cast.owner, today(DEAR)) is not None
    with tenant_scope(tenant_id):
        assert balance_nano() == 40_000
    assert spend_all(store, tenant_id, 100) == 40_000


def test_what_another_open_month_became_cheaper_by_is_there_for_this_one(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    limited(tenant_id)
    give(tenant_id, "prepaid", 60_000)
    last = month_of(month_of(now()) - dt.timedelta(days=1))
    begin, end = map(to_ms, bounds(last))
    store_events([call(tenant_id, 1, cost=60_000, at=from_ms(begin + 1))])
    with tenant_scope(tenant_id):
        budget = Budget.objects.get(name="w:s")
        BudgetLease.objects.create(
            budget=budget, period=last, epoch=budget.epoch + 1, blocks=1, granted_nano=60_000, spent_nano=60_000,
            state="reconciled", opened_ms=begin, closed_ms=end,
        )  # fmt: skip
    summed(tenant_id)
    assert cap(tenant_id) == 0
    assert done(cast.owner, Wanted(last, last, CHEAP)) is not None
    with tenant_scope(tenant_id):
        assert balance_nano() == 45_000
    assert cap(tenant_id) == 45_000


PRICES = st.integers(min_value=0, max_value=1_000)


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 100), st.integers(1, 5)), min_size=1, max_size=20),
    PRICES, PRICES, PRICES,
)  # fmt: skip
def test_any_chain_of_versions_ends_where_its_last_one_alone_would(
    drawn: list[tuple[int, int, int]], first: int, second: int, third: int
) -> None:
    line = (OCTOBER, uuid.UUID(int=1), "m", "classify", "a")
    books = {name: version(name, price) for name, price in zip("abc", (first, second, third), strict=True)}
    events = [
        Alike(line, Usage("classify", "m", input_tokens=tokens), max(0, tokens * first - off), count)
        for tokens, off, count in drawn
    ]
    cost = sum(one.cost_nano * one.count for one in events)
    added, earlier = 0, {}
    for name in "bc":
        for change in changes(events, books=books, to=books[name], earlier=earlier):
            added += change.delta_nano
            earlier[line] = Earlier(added, name, change.counts, change.after_nano)
    alone = changes(events, books=books, to=books["c"], earlier={})
    assert added == sum(one.delta_nano for one in alone)
    assert cost + added >= 0
    slow = sum(
        count * max(0, int(Decimal(tokens) * third) - (tokens * first - max(0, tokens * first - off)))
        for tokens, off, count in drawn
    )
    assert cost + added == slow
