"""A plan that changes while jobs start, and while somebody ends it: whatever comes first, what holds afterwards is what
Stripe says, and nothing is charged twice."""

import datetime as dt
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from billing.models import Invoice, StripeCommand
from billing.plans import plan_book
from billing.selectors.items import items_of, plan_item, plan_of_price
from billing.selectors.subscriptions import entitlement_for, subscription_held
from kit.clock import now
from kit.errors import ApiError
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.test_life import card, synced
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person
from tests.training.making import empty_queue, no_losses, queued
from training import states
from training.models import Job, TenantShare
from training.services.claiming import claim, slots_keep
from training.services.shares import shares_reread

pytestmark = pytest.mark.slow

HOST = "changing-host"
PLACES = 12
NAMES = itertools.count()


@pytest.fixture
def _places() -> None:
    empty_queue()
    no_losses()
    slots_keep(host=HOST, count=PLACES, kind="cpu-fp32", gpu_class="cpu")


def at_once(*wishes: Callable[[], Any]) -> list[Any]:
    """What each answers, all begun at one moment; a refusal is an answer."""
    ready = threading.Barrier(len(wishes))

    def run(wish: Callable[[], Any]) -> Any:
        ready.wait()
        try:
            return wish()
        except ApiError as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(wishes)) as crowd:
        return list(crowd.map(run, wishes))


def click(person: Person, **form: str) -> Callable[[], int]:
    """A press of a button of the plan's page, in a tab of its own; the status of its answer."""
    tab = Client(raise_request_exception=False)
    tab.cookies = person.browser.cookies.copy()  # type: ignore[assignment]
    return lambda: tab.post(f"{person.home}/billing/plan", form).status_code


def work(times: int = 4) -> list[Any]:
    """What a worker claims, looking a few times."""
    return [claim(host=HOST, worker=f"{HOST}/1/{next(NAMES)}") for _ in range(times)]


def running(person: Person) -> int:
    with tenant_scope(person.tenant.id):
        return Job.objects.filter(state__in=states.WORKING).count()


def look_again(person: Person) -> None:
    """A tick reads what a tenant may run anew once that is ten seconds old; as if it were."""
    with tenant_scope(person.tenant.id):
        TenantShare.objects.update(read_at=now() - dt.timedelta(hours=1))
    shares_reread()


def says_stripe(person: Person, emulator: Emulator) -> tuple[str, bool]:
    """(plan, whether it ends with the period)."""
    with tenant_scope(person.tenant.id):
        held = subscription_held()
    assert held is not None
    found = emulator.v1.subscriptions.retrieve(held.stripe_id).to_dict(for_json=True)
    item = plan_item(items_of(found))
    assert item is not None
    return plan_of_price(item["price"])[0], bool(found["cancel_at_period_end"])


def settled(person: Person, emulator: Emulator) -> tuple[str, bool]:
    """What Stripe says, once the mirror and the entitlement have been found to say the same."""
    synced(person)
    plan, ends = says_stripe(person, emulator)
    with tenant_scope(person.tenant.id):
        held = subscription_held()
        assert held is not None and (held.plan, held.cancel_at_period_end) == (plan, ends)
        assert not StripeCommand.objects.filter(state__in=("waiting", "doubt")).exists()
    found = entitlement_for(person.tenant.id)
    assert (found.plan, found.limits) == (plan, plan_book().latest(plan).limits)
    return plan, ends


def paid(person: Person) -> list[int]:
    with tenant_scope(person.tenant.id):
        return list(Invoice.objects.filter(status="paid").order_by("issued_at", "pk").values_list("total", flat=True))


@pytest.mark.parametrize("good", [True, False], ids=["a card that pays", "a card that is refused"])
def test_jobs_that_start_during_an_upgrade_start_under_the_plan_that_is_paid_for(
    cast: Cast, stripe_house: Emulator, _places: None, good: bool
) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    if not good:
        card(ada, stripe_house, "pm_card_chargeCustomerFail")
    for _ in range(5):
        queued(ada)
    twice = [click(ada, action="change", plan="team", interval="month") for _ in range(2)]
    answers = at_once(*twice, work, work, lambda: queued(ada))
    plan, _ends = settled(ada, stripe_house)
    assert plan == ("team" if good else "developer"), answers[:2]
    limit = entitlement_for(ada.tenant.id).limits.parallel_jobs
    assert running(ada) <= limit
    assert len(paid(ada)) == (2 if good else 1), (answers[:2], paid(ada))
    look_again(ada)
    work(8)
    assert running(ada) == min(6, limit), "what could not start before was queued, and starts now"
    with tenant_scope(ada.tenant.id):
        waiting = Job.objects.filter(state=states.QUEUED).count()
    assert waiting == 6 - running(ada)


@pytest.mark.parametrize("round_", range(3))
def test_an_upgrade_and_an_end_at_one_moment_leave_what_stripe_says(
    cast: Cast, stripe_house: Emulator, round_: int
) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    change, end = at_once(click(ada, action="change", plan="team", interval="month"), click(ada, action="cancel"))
    assert end == 302 and change in (302, 409), "a change is not added to what waits"
    plan, ends = settled(ada, stripe_house)
    assert plan == ("team" if change == 302 else "developer")
    assert ends or change == 302, "nobody takes an end back but a change that came after it"
    assert len(paid(ada)) == (2 if change == 302 else 1)
