"""Each threshold of the spend limit is announced once a month, to those who can act on it."""

from __future__ import annotations

from django.core import mail
from django.test import override_settings

from billing.services.alerts import budget_alert
from billing.services.ledger import lines_post_all
from billing.services.metering import usage_rollup
from kit.clock import now
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.billing.money import call, entitle, store_events
from tests.conftest import Cast

CAP = 100_000


@override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend")
def test_thresholds_are_announced_once_and_in_order(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=CAP)
    mail.outbox = []
    told = []
    for number, cost in enumerate([40_000, 12_000, 0, 30_000, 17_500, 0]):
        if cost:
            store_events([call(tenant_id, number, cost=cost, at=now())])
        told.append(budget_alert(tenant_id=tenant_id))
    assert told == [0, 50, 0, 80, 100, 0]
    assert [message.to for message in mail.outbox] == [[cast.owner.user.email]] * 3, "developers are not told"
    assert "100 %" in mail.outbox[-1].subject
    with tenant_scope(tenant_id):
        assert AuditEvent.objects.filter(action="budget.threshold").count() == 3


@override_settings(EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend")
def test_the_posting_tick_tells(cast: Cast) -> None:
    tenant_id = cast.owner.tenant.id
    entitle(tenant_id, spend_nano=CAP)
    store_events([call(tenant_id, 1, cost=60_000, at=now())])
    usage_rollup(tenant_id=tenant_id)
    lines_post_all()
    with tenant_scope(tenant_id):
        assert AuditEvent.objects.filter(action="budget.threshold").count() == 1
