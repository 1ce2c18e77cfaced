"""The shell's doors: `tenant_create` and `make_staff`."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing.selectors.subscriptions import entitlement_for
from kit.ids import parse_id
from ops.models import StaffAction
from tenants.access import memberships_of, resolve_key
from tenants.models import Tenant, User
from tenants.scope import tenant_scope
from tests.conftest import make_user


def create(**options: str) -> Any:
    """Run it with --json and read what it prints."""
    out = StringIO()
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    call_command("tenant_create", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_tenant_is_made_with_a_plan_a_project_an_owner_and_a_working_key() -> None:
    address = make_user("unused").email.replace("unused", "shell")
    made = create(email=address, name="Shell Works", plan="team")
    assert set(made) == {"tenant", "project", "user", "api_key", "base_url"}
    context = resolve_key(f"Bearer {made['api_key']['key']}")
    assert context.tenant_id == parse_id("org_", made["tenant"]["id"])
    assert context.project_id == parse_id("proj_", made["project"]["id"])
    assert context.key_id == parse_id("key_", made["api_key"]["id"])
    assert entitlement_for(context.tenant_id).plan == "team"
    assert made["base_url"].endswith("/v1")
    user = User.objects.get(email=made["user"]["email"])
    assert [seat.role for seat in memberships_of(user.pk)] == ["owner"]


def test_an_existing_account_is_used_as_it_is() -> None:
    user = make_user("known")
    create(email=user.email.upper(), name="Second", plan="free")
    assert len(memberships_of(user.pk)) == 1
    assert User.objects.get(pk=user.pk).check_password("a long enough passphrase")


def test_an_organisation_pays_in_the_currency_it_was_made_in() -> None:
    made = create(email=make_user("euro").email, name="Euro Works", currency="EUR")
    with tenant_scope(parse_id("org_", made["tenant"]["id"])):
        assert Tenant.objects.get().currency == "eur"
    with pytest.raises(CommandError, match=r"Nothing is sold in 'chf'\. Currencies: usd, eur\."):
        create(email=make_user("franc").email, name="Swiss Works", currency="chf")


@pytest.mark.parametrize(
    "wrong", [{"plan": "gold"}, {"email": "nobody"}, {"name": "\u200b"}], ids=["plan", "address", "name"]
)
def test_what_cannot_be_is_refused_and_leaves_nothing(wrong: dict[str, str]) -> None:
    address = make_user("unused").email.replace("unused", "none")
    before = User.objects.count()
    with pytest.raises(CommandError):
        create(**{"email": address, "name": "N", "plan": "free", **wrong})
    assert User.objects.count() == before


def test_promoting_somebody_unknown_is_refused_and_a_promotion_is_logged() -> None:
    with pytest.raises(CommandError, match="No user"):
        call_command("make_staff", "--email", "nobody@example.com", "--reason", "tests")
    user = make_user("promoted")
    call_command("make_staff", "--email", user.email, "--reason", "on call", stdout=StringIO())
    assert StaffAction.objects.get(action="staff.make", target_id=str(user.pk)).reason == "on call"
