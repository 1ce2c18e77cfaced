"""Every table of every room in the staff console: there, readable, searchable, without secrets, and never a 500."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connections, models
from django.test.utils import CaptureQueriesContext

from billing.models import StripeEvent
from kit.clock import now
from kit.money import with_symbol
from ops.admin import OTHERS
from ops.site import staff
from tenants.models import ApiKey, AuditEvent, Invitation, Member, Tenant
from tenants.scope import OPS, ops_scope, tenant_scope
from tests.conftest import CURRENCY, Cast, Person, make_user
from tests.console import things
from training.models import Job

TABLES = [model for room in settings.ROOMS for model in apps.get_app_config(room).get_models()]
KINDS = (Tenant, ApiKey, Job, StripeEvent)
"""One table of each kind: the tenant's own, with secrets, with deeds, without a tenant and with a number as its id."""
HOSTILE = (
    "?q=\x00",
    "?q=%27%22%3Cscript%3E",
    "?q=" + "a" * 3000,
    "?q=0000000000000000000000000z",
    "?p=-1",
    "?p=99999999999999999999",
    "?p=abc",
    "?o=999.-999.x",
    "?all=&e=1",
    "?e=1",
    "?pk__regex=[",
    "?pk__in=a,b,,",
    "?pk__exact=99999999999999999999999999",
    "?pk__gte=1e400",
    "?nothing__exact=1",
    "?tenant__slug__exact=x",
    "?tenant__members__user__password__startswith=a",
    "?password__startswith=a",
    "?secret_hash__startswith=a",
    "?_popup=1",
    "?_to_field=password",
    "?_facets",
    "?created_at__gte=99999-99-99",
    "?created_at__year=99999999999",
    "?state__exact=%00",
)


def address(model: type[models.Model]) -> str:
    """The list's address."""
    return f"/staff/{model._meta.app_label}/{model._meta.model_name}/"


def test_every_table_of_every_room_is_there_and_has_a_search_box() -> None:
    for model in TABLES:
        assert staff.is_registered(model), model
        assert staff._registry[model].search_fields, model


@pytest.mark.slow
def test_every_table_opens_and_is_searched(ada: Person, cast: Cast) -> None:
    for model in [*TABLES, *OTHERS]:
        assert ada.browser.get(address(model)).status_code == 200, model
        assert ada.browser.get(address(model), {"q": "nothing"}).status_code == 200, model


@pytest.mark.slow
def test_no_table_lets_anybody_add_change_or_delete(ada: Person, cast: Cast) -> None:
    opened = 0
    for model in [*TABLES, *OTHERS]:
        path = address(model)
        assert ada.browser.get(path + "add/").status_code == 403, model
        assert ada.browser.post(path + "add/", {}).status_code == 403, model
        with ops_scope("test"):
            row = (getattr(model, "ops", None) or model._base_manager).using(OPS).order_by("-pk").first()
        if row is None:
            continue
        opened += 1
        assert ada.browser.get(f"{path}{row.pk}/change/").status_code == 200, model
        assert ada.browser.post(f"{path}{row.pk}/change/", {"name": "stolen"}).status_code == 403, model
        assert ada.browser.post(f"{path}{row.pk}/delete/", {"post": "yes"}).status_code == 403, model
        ada.browser.post(path, {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"})
        with ops_scope("test"):
            assert (getattr(model, "ops", None) or model._base_manager).using(OPS).filter(pk=row.pk).exists(), model
    assert opened >= 8


@pytest.mark.slow
@pytest.mark.parametrize("query", HOSTILE)
def test_no_query_string_is_a_fault_of_ours(ada: Person, cast: Cast, query: str) -> None:
    for model in KINDS:
        answer = ada.browser.get(address(model) + query.replace("\x00", "%00"))
        assert answer.status_code < 500, (model, query, answer.content[:300])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["0", "%00", "not-a-uuid", "99999999999999999999999", "..", "_3C", "a/b", "🙂"])
def test_no_address_of_a_row_is_a_fault_of_ours(ada: Person, name: str) -> None:
    for model in KINDS:
        for rest in ("change/", "delete/", "history/", ""):
            assert ada.browser.get(f"{address(model)}{name}/{rest}").status_code < 500, (model, rest)
    for deed in ("suspend", "reopen", "override"):
        assert ada.browser.get(f"/staff/tenants/tenant/{name}/{deed}/").status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "autocomplete/",
        "autocomplete/?app_label=tenants&model_name=user&field_name=password",
        "r/1/1/",
        "r/abc/xyz/",
        "jsi18n/",
        "search/?s=",
        "search/?s=%00",
        "search/?s=ten",
        "nothing/",
        "tenants/",
        "nothing/at/all/",
        "password_change/",
    ],
)
def test_no_other_address_of_the_site_is_a_fault_of_ours(ada: Person, path: str) -> None:
    assert ada.browser.get("/staff/" + path).status_code < 500


def test_a_filter_may_not_reach_a_hidden_column(ada: Person, cast: Cast) -> None:
    first = cast.owner.key_row.secret_hash[0]
    right = ada.browser.get(f"/staff/tenants/apikey/?secret_hash__startswith={first}")
    wrong = ada.browser.get("/staff/tenants/apikey/?secret_hash__startswith=zz")
    assert right.status_code == wrong.status_code != 200
    assert ada.browser.get("/staff/tenants/user/?password__startswith=a").status_code != 200


def test_rows_of_all_tenants_open_without_their_secrets(ada: Person, cast: Cast) -> None:
    key = cast.owner.key_row
    text = ada.browser.get(f"/staff/tenants/apikey/{key.pk}/change/").content.decode()
    assert cast.owner.tenant.name in text
    assert key.secret_hash not in text
    factor = ada.browser.get("/staff/mfa/authenticator/").content.decode()
    assert "totp" in factor.lower()
    assert "secret" not in factor


def test_a_public_id_finds_its_row(ada: Person, cast: Cast) -> None:
    text = ada.browser.get("/staff/tenants/tenant/", {"q": cast.owner.tenant.public_id}).content.decode()
    assert cast.owner.tenant.slug in text
    assert cast.stranger.tenant.slug not in text


def queries(person: Person, path: str) -> int:
    """Statements one page takes on the role that reads every tenant's rows."""
    with CaptureQueriesContext(connections["ops"]) as asked:
        assert person.browser.get(path).status_code == 200
    return len(asked)


def _members(person: Person) -> None:
    Member.objects.create(user=make_user("more"), role="viewer")


def _invitation(person: Person) -> None:
    Invitation.objects.create(
        email="a@example.com", role="viewer", token_hash=make_user("t").pk.hex, expires_at=now() + dt.timedelta(days=1)
    )


def _audit(person: Person) -> None:
    AuditEvent.objects.create(actor_kind="user", actor_label="a", action="x.y", target_kind="z")


def _key(person: Person) -> None:
    ApiKey.objects.create(
        project=person.project, name="k", lookup=make_user("k").pk.hex[-16:], secret_hash="", last_four="", scopes=[]
    )


MORE: dict[str, tuple[type[models.Model], Callable[[Person], Any]]] = {
    "members": (Member, _members),
    "invitations": (Invitation, _invitation),
    "audit events": (AuditEvent, _audit),
    "keys": (ApiKey, _key),
}


@pytest.mark.parametrize("what", MORE)
def test_a_list_takes_as_many_queries_for_one_row_as_for_many(ada: Person, what: str) -> None:
    model, make = MORE[what]
    path = f"{address(model)}?q={ada.tenant.slug}"
    with tenant_scope(ada.tenant.pk):
        make(ada)
    few = queries(ada, path)
    with tenant_scope(ada.tenant.pk):
        for _ in range(4):
            make(ada)
    assert queries(ada, path) == few


HEAVY: dict[str, Callable[[Person], Any]] = {"job": things.made_job, "deployment": things.made_deployment}


@pytest.mark.slow
@pytest.mark.parametrize("what", HEAVY)
def test_lists_behind_heavy_things_do_not_ask_row_by_row(ada: Person, what: str) -> None:
    HEAVY[what](ada)
    with ops_scope("test"):
        touched = [
            model
            for model in TABLES
            if any(field.name == "tenant" for field in model._meta.fields)
            and model.ops.filter(tenant=ada.tenant).exists()  # type: ignore[attr-defined]
        ]
    before = {model: queries(ada, f"{address(model)}?q={ada.tenant.slug}") for model in touched}
    HEAVY[what](ada)
    after = {model: queries(ada, f"{address(model)}?q={ada.tenant.slug}") for model in touched}
    assert after == before


def test_money_times_and_shares_are_said_as_people_read_them(ada: Person) -> None:
    job = things.made_job(ada, ceiling_nano=2_500_000_000, progress=0.1310638)
    with ops_scope("test"):
        row = Job.ops.get(pk=job.pk)
    page = ada.browser.get(f"/staff/training/job/{job.pk}/change/").content.decode()
    for words in (with_symbol("2.50", CURRENCY), "13%", f"{row.created_at:%Y-%m-%d %H:%M:%S}", job.public_id):
        assert words in page
    assert "2500000000" not in page


def test_no_filter_reads_a_whole_table_that_grows_with_every_call() -> None:
    grown = (Job, StripeEvent)  # few rows a day; their filters list what occurs
    for model in TABLES:
        for name in staff._registry[model].list_filter:
            if isinstance(name, str) and model not in grown:
                field = model._meta.get_field(name)
                assert field.choices or isinstance(field, models.BooleanField), (model, name)


def test_the_audit_log_is_filtered_by_kind_of_actor(ada: Person, cast: Cast) -> None:
    ada.browser.post(f"/staff/tenants/tenant/{cast.owner.tenant.pk}/suspend/", {"reason": "asked for in ticket 4711"})
    path = f"/staff/tenants/auditevent/?q={cast.owner.tenant.slug}&actor="
    assert "tenant.suspended" in ada.browser.get(path + "staff").content.decode()
    assert "tenant.suspended" not in ada.browser.get(path + "key").content.decode()
