"""In any order of what can happen to a wallet, nothing is admitted beyond what it carries, and the books are right."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.models import CreditDraw, PeriodClose, RatedLine
from billing.periods import month_of, next_month
from billing.quotas import QuotaStore
from billing.selectors import wallet
from billing.selectors.invariants import findings
from billing.selectors.wallet import balance_nano
from billing.services import credits, ledger
from billing.services.credits import credit_refund, credits_expire
from billing.services.leases import lease_reconcile, lease_trim
from billing.services.ledger import period_close
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.errors import Conflict
from tenants.scope import tenant_scope
from tests.billing.quota_server import QuotaServer, quota_server
from tests.billing.test_credits import give
from tests.billing.test_funds import ask, limited, posted, settled
from tests.conftest import make_person

STEPS = st.one_of(
    st.tuples(st.sampled_from(["promo", "goodwill", "prepaid"]), st.integers(1, 400), st.integers(0, 2)),
    st.tuples(st.just("call"), st.integers(1, 120), st.just(0)),
    st.tuples(st.just("call"), st.integers(1, 120), st.just(0)),
    st.tuples(st.just("settle"), st.integers(0, 100), st.just(0)),
    st.tuples(st.sampled_from(["post", "end", "refund", "forget", "reconcile", "close"]), st.just(0), st.just(0)),
)
UNIT = 20
"""Events cost whole tokens of so many nano-USD."""


class _Wallet:
    """One tenant through a list of steps, with what it may never pass."""

    def __init__(self, server: QuotaServer, patched: pytest.MonkeyPatch, postpaid: int, allowance: int) -> None:
        self.server, self.patched = server, patched
        self.store = QuotaStore(server.url)
        self.store.begin()
        self.tenant_id = make_person("funds").tenant.id
        self.postpaid, self.allowance = postpaid, allowance
        limited(self.tenant_id, postpaid=postpaid, allowance=allowance)
        self.hours = 0
        self.held: dict[str, int] = {}
        self.waiting = 0
        self.settled = 0
        self.slack = 0
        """Admitted on credit that ended, or on a month that closed, before it was posted."""
        self.bought: list[uuid.UUID] = []
        self.closed = False

    def step(self, what: str, amount: int, more: int) -> None:
        if what in ("promo", "goodwill", "prepaid"):
            end = now() + dt.timedelta(hours=self.hours + more) if more else None
            grant = give(self.tenant_id, what, amount * UNIT, expires_at=end)
            self.bought += [grant] if what == "prepaid" else []
        else:
            getattr(self, what)(amount)
        self.check()

    def call(self, amount: int) -> None:
        if rid := ask(self.store, self.tenant_id, amount * UNIT):
            self.held[rid] = amount * UNIT

    def settle(self, share: int) -> None:
        for rid in list(self.held)[:1]:
            cost = self.held.pop(rid) // UNIT * share // 100 * UNIT
            settled(self.store, self.tenant_id, rid, cost)
            self.settled += cost
            self.waiting += cost

    def post(self, _: int) -> None:
        posted(self.tenant_id)
        self.waiting = 0

    def end(self, _: int) -> None:
        self.slack += sum(self.held.values()) + self.waiting
        self.hours += 2
        self._clock()
        credits_expire(tenant_id=self.tenant_id)
        lease_trim(store=self.store, tenant_id=self.tenant_id, name="w:s")

    def refund(self, _: int) -> None:
        with tenant_scope(self.tenant_id):
            for grant in self.bought[-1:]:
                known = wallet.grant_of(grant)
                if known is not None and known.left_nano > 1:
                    with contextlib.suppress(Conflict):  # all of it may be promised
                        credit_refund(grant_id=grant, reason="asked", store=self.store)

    def forget(self, _: int) -> None:
        self.server.command("FLUSHALL")
        self.store.begin()

    def reconcile(self, _: int) -> None:
        lease_reconcile(quiet=dt.timedelta(seconds=-5))

    def close(self, _: int) -> None:
        self.slack += sum(self.held.values()) + self.waiting
        period = month_of(now())
        self.patched.setattr(ledger, "now", lambda: now() + dt.timedelta(days=40))
        usage_rollup(tenant_id=self.tenant_id)
        period_close(tenant_id=self.tenant_id, period=period)
        self.waiting, self.closed = 0, True

    def _clock(self) -> None:
        for module in (wallet, credits):
            self.patched.setattr(module, "now", lambda hours=self.hours: now() + dt.timedelta(hours=hours))

    def check(self) -> None:
        with tenant_scope(self.tenant_id):
            billed = sum(RatedLine.objects.values_list("invoiced_nano", flat=True))
            paid, credit = sum(wallet.drawn_open().values()), balance_nano()
        running = sum(self.held.values()) + self.settled - billed
        allowance = 0 if self.closed else self.allowance
        carried = paid + allowance + self.postpaid + credit + self.slack
        assert running <= carried, f"admitted {running} nano-USD, of which {carried} are carried"

    def finish(self) -> None:
        for rid in list(self.held):
            settled(self.store, self.tenant_id, rid, self.held[rid])
            self.settled += self.held.pop(rid)
        posted(self.tenant_id)
        self.patched.setattr(ledger, "now", lambda: now() + dt.timedelta(days=70))
        this = month_of(now())
        for period in (this, next_month(this)):
            for _ in range(2):
                period_close(tenant_id=self.tenant_id, period=period)
        assert [str(finding) for finding in findings([self.tenant_id])] == []
        with tenant_scope(self.tenant_id):
            closes = list(PeriodClose.objects.all())
            drawn = sum(CreditDraw.objects.filter(kind="used").values_list("amount_nano", flat=True))
        assert self.settled == sum(close.usage_nano for close in closes), "0 nano off"
        assert drawn == sum(close.drawn_nano for close in closes)
        owed = [close.net_nano for close in closes]
        assert all(nano >= 0 for nano in owed)
        assert sum(owed) <= len(owed) * self.postpaid + self.slack, "more is owed than may be"
        self.store.close()


@pytest.mark.slow
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making a failure smaller takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(
    steps=st.lists(STEPS, min_size=8, max_size=30),
    postpaid=st.sampled_from([0, 0, 2_000]),
    allowance=st.sampled_from([0, 3_000]),
)
def test_no_order_of_events_admits_more_than_is_there(
    steps: list[tuple[str, int, int]], postpaid: int, allowance: int
) -> None:
    with quota_server() as server, pytest.MonkeyPatch.context() as patched:
        run = _Wallet(server, patched, postpaid, allowance)
        for what, amount, more in steps:
            run.step(what, amount, more)
        run.finish()
