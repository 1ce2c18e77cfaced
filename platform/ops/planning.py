"""What staff keep for the economics: plans under a name, and what was spent to win customers. Each takes a reason and
is in the staff's log."""

import datetime as dt
from uuid import UUID

from django.db import IntegrityError, transaction

from billing.economics import Inputs
from billing.models import AcquisitionSpend
from billing.services.acquisition import spend_add
from kit.errors import BadRequest, Conflict, NotFound
from ops.models import Scenario
from ops.services import Staff, record
from tenants.scope import OPS

MOST_SCENARIOS = 200


def scenario_save(*, name: str, inputs: Inputs, by: Staff) -> Scenario:
    """Keep a plan under a name. Conflict where the name is taken or MOST_SCENARIOS are kept; kept ones never change."""
    by.check()
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise BadRequest("Give it a name of at most 80 characters.", param="name")
    if Scenario.objects.count() >= MOST_SCENARIOS:
        raise Conflict(f"{MOST_SCENARIOS} scenarios are kept already. Remove one that nobody needs first.")
    try:
        with transaction.atomic():
            row = Scenario.objects.create(name=name, inputs=inputs.texts(), created_by=by.user.email)
            record(action="scenario.save", target=row, by=by, tenant_id=None, detail={"inputs": row.inputs})
    except IntegrityError:
        raise Conflict(f"A scenario is called {name} already. Choose another name.", param="name") from None
    return row


def scenario_remove(*, scenario_id: UUID, by: Staff) -> None:
    """Remove a kept plan; its inputs stay in the staff's log."""
    by.check()
    with transaction.atomic():
        row = Scenario.objects.select_for_update().filter(pk=scenario_id).first()
        if row is None:
            raise NotFound.of(scenario_id)
        record(action="scenario.remove", target=row, by=by, tenant_id=None, detail={"inputs": row.inputs})
        row.delete()


def spend_enter(*, month: dt.date, channel: str, nano: int, by: Staff) -> AcquisitionSpend:
    """Enter what a channel cost in a month, or take back (a negative amount) what was entered by mistake."""
    by.check()
    with transaction.atomic(), transaction.atomic(using=OPS):
        row = spend_add(month=month, channel=channel, nano=nano, entered_by=by.user.email)
        detail = {"month": f"{month:%Y-%m}", "channel": row.channel, "amount_nano": nano}
        record(action="acquisition.spend", target=row, by=by, tenant_id=None, detail=detail)
    return row
