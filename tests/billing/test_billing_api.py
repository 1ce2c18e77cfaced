"""`/v1/billing`: plan, preview, change and cancellation by key; invoices, closed months, rated days and events."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from decimal import Decimal
from typing import Any

import pytest

from billing.models import Invoice, StripeCommand, UsageEvent
from billing.plans import plan_book
from billing.selectors.subscriptions import entitlement_for
from billing.services.limits import key_limits_set, spend_limit_set
from billing.services.metering import usage_rollup
from kit.clock import now
from kit.ids import parse_id
from kit.money import NANO
from tenants.models import ApiKey
from tenants.scope import tenant_scope
from tests.billing.emulated import Emulator
from tests.billing.money import call, store_events
from tests.billing.stripe_emulator.test_three_d_secure import NAMED_ALWAYS
from tests.billing.test_life import card
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person, make_person
from tests.console.billed import made_invoice
from tests.contracts.conformance import answer_schema, differences

BASE = "/v1/billing"
OCTOBER = f"{BASE}/months/2026-10"


def get(person: Person, path: str, shape: str = "") -> dict[str, Any]:
    """What a route answers, which is what the reference says."""
    answer = person.api.get(path)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = json.loads(answer.content)
    assert differences(answer_schema("GET", shape or path.partition("?")[0], 200), found) == []
    return found


def post(person: Person, path: str, body: dict[str, Any] | None = None, status: int = 200, **headers: str) -> Any:
    answer = person.api.post(f"{BASE}/{path}", body or {}, **headers)
    assert answer.status_code == status, answer.content
    found = json.loads(answer.content)
    assert differences(answer_schema("POST", f"{BASE}/{path}", status), found) == []
    return found


def charged(person: Person) -> list[int]:
    with tenant_scope(person.tenant.id):
        return sorted(Invoice.objects.values_list("total", flat=True))


def pages(person: Person, path: str, limit: int = 2) -> list[dict[str, Any]]:
    """Everything of a list, page by page."""
    found: list[dict[str, Any]] = []
    query = "&" if "?" in path else "?"
    while True:
        after = f"&after={found[-1]['id']}" if found else ""
        page = json.loads(person.api.get(f"{path}{query}limit={limit}{after}").content)
        found += page["data"]
        if not page["has_more"]:
            return found


def test_a_change_charges_what_its_preview_showed_and_only_once(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    assert get(ada, f"{BASE}/subscription")["subscription"] is None
    buy(ada, stripe_house)
    has = get(ada, f"{BASE}/subscription")
    assert (has["plan"], has["subscription"]["status"], has["subscription"]["interval"]) == (
        "developer", "active", "month"
    )  # fmt: skip
    shown = post(ada, "subscription/preview", {"plan": "team"})
    assert sum(line["amount"] for line in shown["lines"]) == shown["amount_due"] > 0
    assert entitlement_for(ada.tenant.id).plan == "developer", "a preview changes nothing"
    body = {"plan": "team", "pin": shown["pin"]}
    done = post(ada, "subscription", body, idempotency_key="one")
    assert (done["status"], done["subscription"]["plan"], done["confirm_url"]) == ("done", "team", None)
    again = ada.api.post(f"{BASE}/subscription", body, idempotency_key="one")
    assert again.headers["Idempotent-Replayed"] == "true" and json.loads(again.content)["id"] == done["id"]
    assert charged(ada) == sorted([2_900, shown["amount_due"]])
    refused = post(ada, "subscription", body, 409)
    assert "Look at the change again" in refused["error"]["message"], "a pin is of one change"
    assert charged(ada) == sorted([2_900, shown["amount_due"]])


def test_a_plan_ends_is_kept_rests_and_comes_back(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    assert post(ada, "subscription/cancel")["subscription"]["subscription"]["cancel_at_period_end"]
    assert not post(ada, "subscription/keep")["subscription"]["subscription"]["cancel_at_period_end"]
    rests = post(ada, "subscription/pause")
    assert (rests["subscription"]["plan"], rests["subscription"]["subscription"]["status"]) == ("free", "paused")
    post(ada, "subscription/pause", status=409)
    assert post(ada, "subscription/resume")["subscription"]["plan"] == "developer"
    assert post(ada, "subscription/resume", status=409)["error"]["code"] == "no_subscription"
    assert post(ada, "subscription/cancel", {"now": True}, 400)["error"]["param"] == "now"


def test_a_card_whose_owner_must_confirm_is_sent_to_do_so(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    card(ada, stripe_house, NAMED_ALWAYS)
    shown = post(ada, "subscription/preview", {"plan": "team"})
    waits = post(ada, "subscription", {"plan": "team", "pin": shown["pin"]})
    assert waits["status"] == "requires_action" and waits["confirm_url"].startswith(stripe_house.url)
    assert waits["subscription"]["plan"] == "developer"


@pytest.mark.parametrize(("state", "words"), [("dropped", "This was not done: Too late"), ("doubt", "is not known")])
def test_a_change_of_which_nothing_more_comes_is_not_pending(
    cast: Cast, stripe_house: Emulator, state: str, words: str
) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    done = post(ada, "subscription/cancel", idempotency_key="one")
    with tenant_scope(ada.tenant.id):
        mine = StripeCommand.objects.filter(pk=parse_id(StripeCommand.prefix, done["id"]))
        assert mine.update(state=state, error="Too late.") == 1
    told = post(ada, "subscription/cancel", status=409, idempotency_key="one")
    assert words in told["error"]["message"]


def test_a_refused_card_changes_nothing_and_says_so(cast: Cast, stripe_house: Emulator) -> None:
    ada = cast.owner
    buy(ada, stripe_house)
    card(ada, stripe_house, "pm_card_chargeCustomerFail")
    shown = post(ada, "subscription/preview", {"plan": "team"})
    refused = post(ada, "subscription", {"plan": "team", "pin": shown["pin"]}, 402)
    assert refused["error"]["code"] == "card_declined" and entitlement_for(ada.tenant.id).plan == "developer"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"plan": "team"}, 400, "pin"),
        ({"plan": "nobody's", "pin": "x"}, 400, "plan"),
        ({"plan": "team", "pin": "x"}, 409, "pin"),
        ({"plan": "team", "interval": "week", "pin": "x"}, 400, "interval"),
        ({"plan": "team", "pin": "x", "free": True}, 400, "free"),
        ({"plan": "enterprise", "pin": "x"}, 409, "pin"),
    ],
    ids=str,
)
def test_nonsense_is_refused(cast: Cast, body: dict[str, Any], status: int, param: str) -> None:
    assert post(cast.owner, "subscription", body, status)["error"]["param"] == param


def test_a_pin_is_of_one_organisation_and_one_way_to_pay(cast: Cast, stripe_house: Emulator) -> None:
    ada, eve = cast.owner, cast.stranger
    buy(ada, stripe_house)
    buy(eve, stripe_house)
    pin = post(ada, "subscription/preview", {"plan": "team"})["pin"]
    post(eve, "subscription", {"plan": "team", "pin": pin}, 409)
    post(ada, "subscription", {"plan": "team", "interval": "year", "pin": pin}, 409)
    with tenant_scope(eve.tenant.id):
        assert not StripeCommand.objects.filter(operation="plan_change").exists()


def test_the_catalogue_is_the_published_files(cast: Cast) -> None:
    listed = get(cast.owner, f"{BASE}/plans")["data"]
    assert [one["id"] for one in listed] == [plan.code for plan in plan_book().offered()]
    team = next(one for one in listed if one["id"] == "team")
    plan = plan_book().latest("team")
    assert {(one["interval"], one["amount"]) for one in team["prices"]} >= {
        ("month", plan.price("month")), ("year", plan.price("year"))
    }  # fmt: skip
    assert team["x_included_nano"] == plan.allowance_nano and team["sold_online"]


def test_money_needs_its_own_scope_and_only_who_has_it_gives_it(cast: Cast) -> None:
    ada, bob = cast.owner, cast.teammate
    page = f"{ada.workspace}/keys/new"
    form = {"name": "bot", "expires": "never", "access": "chosen", "scopes": ["billing.read", "billing.write"]}
    assert bob.browser.post(page, {**form, "once": "b"}).status_code in (403, 422)
    assert ada.browser.post(page, {**form, "once": "a"}).status_code == 200
    everything = {"name": "bot", "expires": "never", "access": "all", "once": "c"}
    assert bob.browser.post(page, everything).status_code == 200
    with tenant_scope(ada.tenant.id):
        made = {key.name: key for key in ApiKey.objects.filter(name="bot").order_by("pk")}
        dearest, everyday = ApiKey.objects.filter(name="bot").order_by("pk")
        assert dearest.scopes == ["billing.read", "billing.write"] and len(made) == 1
        assert not {"billing.read", "billing.write"} & set(everyday.scopes)
    rotate = f"{ada.workspace}/keys/{dearest.public_id}/rotate"
    assert bob.browser.post(rotate, {"overlap": "24", "once": "d"}).status_code in (403, 422)
    assert ada.browser.post(rotate, {"overlap": "24", "once": "e"}).status_code == 200
    with tenant_scope(ada.tenant.id):
        ApiKey.objects.filter(pk=ada.key_row.pk).update(scopes=["usage.read", "billing.read"])
    assert post(ada, "subscription/cancel", status=403)["error"]["message"].startswith("This key lacks the scope")
    assert ada.api.get(f"{BASE}/invoices").status_code == 200
    with tenant_scope(ada.tenant.id):
        ApiKey.objects.filter(pk=ada.key_row.pk).update(scopes=["usage.read"])
    assert ada.api.get(f"{BASE}/invoices").status_code == 403
    assert ada.api.get(f"{BASE}/events").status_code == 200


@pytest.fixture(scope="module")
def billed() -> tuple[Person, Invoice]:
    """Somebody with a closed October and the invoice of it."""
    ada = make_person("ada")
    return ada, made_invoice(ada)


def test_an_invoice_leads_to_its_month_its_days_and_their_events(billed: tuple[Person, Invoice]) -> None:
    ada, row = billed
    (listed,) = get(ada, f"{BASE}/invoices")["data"]
    whole = get(ada, f"{BASE}/invoices/{row.public_id}", f"{BASE}/invoices/{{invoice}}")
    assert listed.items() <= whole.items() and whole["status"] == "open"
    assert sum(line["amount"] for line in whole["lines"]) == whole["sums"]["subtotal"]
    assert whole["sums"]["left"] == whole["open"] and whole["credit_notes"][0]["refunded"] == 500
    used = [line for line in whole["lines"] if line["key"]]
    month = get(ada, OCTOBER, f"{BASE}/months/{{month}}")
    assert {line["key"] for line in used} == {line["key"] for line in month["lines"]}
    assert sum(line["x_amount_nano"] for line in month["lines"]) == month["x_due_nano"]
    for line in month["lines"]:
        if line["unit"] == "month":
            assert ada.api.get(f"{OCTOBER}/days?line={line['key']}").status_code == 400
            continue
        assert line["invoice_id"] == row.public_id
        days = pages(ada, f"{OCTOBER}/days?line={line['key']}", limit=5)
        assert sum(day["x_amount_nano"] for day in days) == line["x_amount_nano"] and len(days) == 12
        assert sum(day["quantity"] for day in days) == line["quantity"]
    day = days[3]
    start = int(dt.datetime.fromisoformat(f"{day['day']}T00:00:00+00:00").timestamp())
    query = f"start_time={start}&end_time={start + 86_400}&kind={day['kind']}&project_id={day['project_id']}"
    events = get(ada, f"{BASE}/events?{query}")["data"]
    assert sum(one["x_cost_nano"] for one in events) == day["x_amount_nano"]
    one = get(ada, f"{BASE}/events/{events[0]['id']}", f"{BASE}/events/{{event}}")
    assert (one["bill"], one["bill_line"]) == ("2026-10", day["line"])


def test_files_have_what_the_pages_have_exactly(billed: tuple[Person, Invoice]) -> None:
    ada, _row = billed
    days = pages(ada, f"{OCTOBER}/days", limit=100)
    text = ada.api.get(f"{OCTOBER}/days/csv").content.decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in rows] == [day["id"] for day in days]
    total = sum(int(Decimal(row["amount_usd"]) * NANO) for row in rows)
    assert total == sum(day["x_amount_nano"] for day in days)
    span = f"start_time={1_790_000_000}&end_time={1_795_000_000}"
    answer = ada.api.get(f"{BASE}/events/csv?{span}")
    lines = list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))
    found = pages(ada, f"{BASE}/events?{span}", limit=7)
    assert [line["id"] for line in lines] == [one["id"] for one in found] and len(found) == 24
    costs = [int(Decimal(line["cost_usd"]) * NANO) for line in lines]
    assert costs == [one["x_cost_nano"] for one in found]
    assert {line["bill"] for line in lines} == {"2026-10"}


def test_a_months_list_and_what_it_lacks(billed: tuple[Person, Invoice]) -> None:
    ada, _row = billed
    (month,) = pages(ada, f"{BASE}/months")
    assert month["id"] == "2026-10" and get(ada, f"{BASE}/months")["data"] == [month]
    for name in ("2026-09", "2026-1", "2026-13", "10-2026", "x"):
        assert ada.api.get(f"{BASE}/months/{name}").status_code == 404, name
    assert ada.api.get(f"{BASE}/months?after=2026-09").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "events?start_time=5&end_time=5", "events?start_time=0&end_time=1790000000", "events?limit=0", "events?after=x",
        "events?after=uev_0000", "events?kind=%00", "events?project_id=5", "events/csv?limit=5", "invoices?after=inv_0",
        "months/2026-10/days?after=rated-0", "months/2026-10/days?line=none", "invoices?status=open",
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_is_a_clear_400(billed: tuple[Person, Invoice], path: str) -> None:
    answer = billed[0].api.get(f"{BASE}/{path}")
    assert answer.status_code == 400, answer.content
    assert set(json.loads(answer.content)["error"]) == {"message", "type", "param", "code"}


def test_budgets_of_every_scope_are_listed(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=2 * NANO)
        key_limits_set(key=ada.key_row, name="bot", limits={"monthly_spend_nano": NANO})
    where = {"project_id": ada.project.pk, "key_id": ada.key_row.id}
    store_events([call(ada.tenant.id, 1, cost=4_000, at=now(), **where)])
    usage_rollup(tenant_id=ada.tenant.id)
    found = {one["scope"]: one for one in get(ada, f"{BASE}/budgets")["data"]}
    assert (found["organization"]["x_limit_nano"], found["organization"]["x_used_nano"]) == (2 * NANO, 4_000)
    assert found["api_key"]["api_key_id"] == ada.key_row.public_id and found["api_key"]["x_used_nano"] == 4_000
    with tenant_scope(ada.tenant.id):
        assert UsageEvent.objects.count() == len(get(ada, f"{BASE}/events")["data"]) == 1
    assert get(cast.stranger, f"{BASE}/events")["data"] == []
