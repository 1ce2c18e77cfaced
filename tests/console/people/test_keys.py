"""API keys on their pages: shown once, rotated, revoked."""

import datetime as dt
import re
from typing import Any

import pytest

from billing.models import Budget
from billing.periods import month_of
from billing.selectors.budgets import promised_nano
from billing.services.metering import usage_rollup
from console.people import keys
from kit.clock import now
from tenants.access import KEY_SCOPES, READ, resolve_key
from tenants.errors import KeyRefused
from tenants.models import ApiKey, AuditEvent
from tenants.scope import tenant_scope
from tenants.services.keys import key_seen, keys_flush, keys_touch
from tests.billing.money import call, store_events
from tests.conftest import Cast, Person, make_person

EVERYTHING = re.compile(r"<td>\s*everything\s*</td>")
"""What the list says of a key with every scope."""
FORM = {"name": "support-bot", "access": "all", "expires": "never"}


def secret_in(answer: Any) -> str:
    """The one key a page shows."""
    found = set(re.findall(r"ts_live_\w{12}_\w{32}_\w{6}", answer.content.decode()))
    assert len(found) == 1
    return str(found.pop())


def create(person: Person, **values: str) -> Any:
    """Send the form."""
    once = values.pop("once", "a")
    return person.browser.post(f"{person.workspace}/keys/new", {**FORM, "once": once, **values})


def test_a_key_is_shown_once_and_opens_the_door(cast: Cast) -> None:
    answer = create(cast.owner)
    plaintext = secret_in(answer)
    assert answer["Cache-Control"] == "no-store"
    assert f"export TUNESMITH_API_KEY={plaintext}" in re.sub(r"<[^>]+>", "", answer.content.decode())
    assert resolve_key(f"Bearer {plaintext}").project_id == cast.owner.project.pk
    for path in ("", f"/{id_of(cast, plaintext)}"):
        assert plaintext not in cast.owner.browser.get(f"{cast.owner.workspace}/keys{path}").content.decode()


def id_of(cast: Cast, plaintext: str) -> str:
    """Public id of a key."""
    with tenant_scope(cast.owner.tenant.pk):
        return str(ApiKey.objects.get(lookup=plaintext.split("_")[2]).public_id)


def test_sending_the_same_form_again_makes_no_second_key(cast: Cast) -> None:
    create(cast.owner, once="same")
    assert create(cast.owner, once="same").status_code == 302
    with tenant_scope(cast.owner.tenant.pk):
        assert ApiKey.objects.filter(name="support-bot").count() == 1


def test_scopes_expiry_and_limits_are_kept(cast: Cast) -> None:
    create(cast.owner, access="call", expires="30", requests_per_minute="60", monthly_spend="$1.50")
    with tenant_scope(cast.owner.tenant.pk):
        key = ApiKey.objects.get(name="support-bot")
    assert key.scopes == ["inference", "models.read"]
    assert dt.timedelta(days=29) < key.expires_at - now() < dt.timedelta(days=31)
    assert key.limits == {"requests_per_minute": 60, "monthly_spend_nano": 1_500_000_000}


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"access": "chosen"},
        {"access": "root"},
        {"scopes": "everything"},
        {"expires": "-1"},
        {"requests_per_minute": "0"},
        {"requests_per_minute": "1e9"},
        {"monthly_spend": "NaN"},
        {"monthly_spend": "-5"},
        {"monthly_spend": "lots"},
        {"monthly_spend": "1,25"},
        {"monthly_spend": "1e0"},
        {"monthly_spend": "2.01"},
        {"requests_per_minute": "61"},
    ],
    ids=str,
)
def test_a_wrong_form_is_explained_and_makes_nothing(wrong: dict[str, str], cast: Cast) -> None:
    answer = create(cast.owner, **wrong)
    assert answer.status_code == 422
    assert "There is a problem" in answer.content.decode()
    with tenant_scope(cast.owner.tenant.pk):
        assert not ApiKey.objects.filter(name=FORM["name"]).exists()


def test_a_keys_name_and_limits_change_and_its_spend_so_far_counts(cast: Cast) -> None:
    ada = cast.owner
    page = f"{ada.workspace}/keys/{ada.key_row.public_id}/change"
    store_events([call(ada.tenant.id, 1, cost=600_000, at=now(), project_id=ada.project.id, key_id=ada.key_row.pk)])
    usage_rollup(tenant_id=ada.tenant.id)
    assert "has used $0.000600 this month" in " ".join(ada.browser.get(page).content.decode().split())
    answer = ada.browser.post(page, {"name": "bot", "requests_per_minute": "7", "monthly_spend": "0.001"})
    assert (answer.status_code, answer["Location"]) == (302, page.removesuffix("/change"))
    with tenant_scope(ada.tenant.id):
        key = ApiKey.objects.get(pk=ada.key_row.pk)
        assert (key.name, key.limits) == ("bot", {"requests_per_minute": 7, "monthly_spend_nano": 1_000_000})
        budget = Budget.objects.get(scope="key", scope_id=key.pk.hex)
        assert promised_nano(budget, month_of(now())) == 600_000
        assert AuditEvent.objects.get(action="key.changed").after == {"name": "bot", "limits": key.limits}
    assert "this key's spend limit" not in ada.browser.get(page.removesuffix("/change")).content.decode()
    store_events([call(ada.tenant.id, 2, cost=250_000, at=now(), project_id=ada.project.id, key_id=ada.key_row.pk)])
    words = " ".join(ada.browser.get(page.removesuffix("/change")).content.decode().split())
    assert "85% of this key's spend limit of $0.001000 is used." in words
    told = ada.api.get("/v1/organization/limits").json()["data"]
    assert [one["x_used_nano"] for one in told if (one["scope"], one["kind"]) == ("api_key", "monthly_spend")] == [
        850_000
    ]
    again = ada.browser.post(page, {"name": "", "monthly_spend": "3"})
    said = again.content.decode()
    assert again.status_code == 422 and "This field is required" in said and 'value="3"' in said
    too_much = ada.browser.post(page, {"name": "bot", "monthly_spend": "3"})
    assert too_much.status_code == 422 and "Your plan, Free, allows $2.00 a month." in too_much.content.decode()
    assert ada.browser.post(page, {"name": "bot"}).status_code == 302
    with tenant_scope(ada.tenant.id):
        assert ApiKey.objects.get(pk=ada.key_row.pk).limits == {}


def test_a_closed_key_does_not_change(cast: Cast) -> None:
    ada = cast.owner
    key = f"{ada.workspace}/keys/{ada.key_row.public_id}"
    ada.browser.post(f"{key}/revoke")
    answer = ada.browser.post(f"{key}/change", {"name": "bot"})
    assert answer.status_code == 422 and "This key is closed." in answer.content.decode()


def may(person: Person) -> tuple[list[str], int]:
    """The key's scopes, and what it is answered where webhooks are listed."""
    with tenant_scope(person.tenant.pk):
        scopes = list(ApiKey.objects.get(pk=person.key_row.pk).scopes)
    return scopes, person.api.get("/v1/webhook_endpoints").status_code


def test_a_key_from_before_webhooks_gains_them_without_a_new_secret(cast: Cast) -> None:
    ada = cast.owner
    page = f"{ada.workspace}/keys/{ada.key_row.public_id}"
    old = [scope for scope in KEY_SCOPES if not scope.startswith("webhooks")]
    with tenant_scope(ada.tenant.pk):
        ApiKey.objects.filter(pk=ada.key_row.pk).update(scopes=old)
    refused = ada.api.get("/v1/webhook_endpoints")
    assert refused.status_code == 403 and "owner or admin can give it" in refused.json()["error"]["message"]
    shown = ada.browser.get(page).content.decode()
    lacks = shown[shown.index("It may not:") :].split("</ul>")[0]
    assert re.findall(r"<li>(.*?)</li>", lacks) == [
        "Read webhooks and their deliveries",
        "Make, change and test webhooks",
    ]
    listed = ada.browser.get(f"{ada.workspace}/keys").content.decode()
    assert f"{len(old)} scopes" in listed and not EVERYTHING.search(listed)
    form = ada.browser.get(f"{page}/access").context_data["form"]
    assert (form["access"].value(), form["scopes"].value()) == ("chosen", old)
    answer = ada.browser.post(f"{page}/access", {"access": "chosen", "scopes": [*old, "webhooks.read"]})
    assert (answer.status_code, answer["Location"]) == (302, page)
    assert may(ada) == (sorted([*old, "webhooks.read"]), 200)
    with tenant_scope(ada.tenant.pk):
        event = AuditEvent.objects.get(action="key.scopes_changed")
    assert event.before == {"scopes": sorted(old)} and event.after == {"scopes": sorted([*old, "webhooks.read"])}
    assert (event.actor_kind, event.actor_label) == ("user", ada.user.email)
    ada.browser.post(f"{page}/access", {"access": "all"})
    assert EVERYTHING.search(ada.browser.get(f"{ada.workspace}/keys").content.decode())
    ada.browser.post(f"{page}/access", {"access": "call"})
    assert may(ada) == (["inference", "models.read"], 403), "what is taken away is gone at once"
    again = ada.browser.post(f"{page}/access", {"access": "call"})
    with tenant_scope(ada.tenant.pk):
        changes = AuditEvent.objects.filter(action="key.scopes_changed").count()
    assert (again.status_code, changes) == (302, 3), "nothing changed, so nothing is logged"


@pytest.mark.parametrize(
    "wrong",
    [{}, {"access": "chosen"}, {"access": "root"}, {"access": "chosen", "scopes": "keys.grant"}],
    ids=str,
)
def test_what_no_key_can_have_is_refused_and_changes_nothing(cast: Cast, wrong: dict[str, str]) -> None:
    ada = cast.owner
    before = may(ada)
    answer = ada.browser.post(f"{ada.workspace}/keys/{ada.key_row.public_id}/access", wrong)
    assert answer.status_code == 422 and "There is a problem" in answer.content.decode()
    assert may(ada) == before


@pytest.mark.parametrize(("role", "status"), [("admin", 302), ("developer", 403), ("viewer", 403), ("billing", 403)])
def test_owners_and_admins_alone_decide_what_a_key_in_use_may_do(cast: Cast, role: str, status: int) -> None:
    ada, mate = cast.owner, make_person("mate", beside=cast.owner, role=role)
    page = f"{ada.workspace}/keys/{ada.key_row.public_id}"
    assert mate.browser.post(f"{page}/access", {"access": "read"}).status_code == status
    assert (may(ada)[0] == sorted(READ)) == (status == 302)
    if role == "developer":
        assert "Change what it may do" not in mate.browser.get(page).content.decode()


def test_what_a_closed_key_may_do_does_not_change(cast: Cast) -> None:
    ada = cast.owner
    key = f"{ada.workspace}/keys/{ada.key_row.public_id}"
    ada.browser.post(f"{key}/revoke")
    answer = ada.browser.post(f"{key}/access", {"access": "read"})
    assert answer.status_code == 422 and "This key is closed." in answer.content.decode()
    assert "Change what it may do" not in ada.browser.get(key).content.decode()


def test_rotation_shows_the_successor_and_ends_the_old_key_in_time(cast: Cast) -> None:
    old = secret_in(create(cast.owner))
    path = f"{cast.owner.workspace}/keys/{id_of(cast, old)}/rotate"
    answer = cast.owner.browser.post(path, {"overlap": "0", "once": "r"})
    fresh = secret_in(answer)
    assert resolve_key(f"Bearer {fresh}")
    with pytest.raises(KeyRefused):
        resolve_key(f"Bearer {old}")
    assert cast.owner.browser.post(path, {"overlap": "0", "once": "s"}).status_code == 302, "it has ended"


def test_a_revoked_key_is_refused_and_listed_as_closed(cast: Cast) -> None:
    plaintext = secret_in(create(cast.owner))
    path = f"{cast.owner.workspace}/keys/{id_of(cast, plaintext)}/revoke"
    assert "cannot be undone" in cast.owner.browser.get(path).content.decode()
    assert cast.owner.browser.post(path).status_code == 302
    with pytest.raises(KeyRefused):
        resolve_key(f"Bearer {plaintext}")
    assert "no longer works" in cast.owner.browser.get(f"{cast.owner.workspace}/keys").content.decode()


def test_a_key_of_another_project_is_not_here(cast: Cast) -> None:
    cast.owner.browser.post(f"{cast.owner.home}/settings/projects", {"name": "Second"})
    path = f"{cast.owner.home}/p/second/keys/{cast.owner.key_row.public_id}"
    assert cast.owner.browser.get(path).status_code == 404
    assert cast.owner.browser.post(f"{path}/revoke").status_code == 404


def test_an_api_call_is_noted_as_the_last_use(cast: Cast) -> None:
    key_seen(cast.owner.key_row.pk)
    assert keys_flush() >= 1
    with tenant_scope(cast.owner.tenant.pk):
        used = ApiKey.objects.get(pk=cast.owner.key_row.pk).last_used_at
    assert used is not None and now() - used < dt.timedelta(minutes=1)
    keys_touch(ids=[cast.owner.key_row.pk], at=used - dt.timedelta(days=1))
    with tenant_scope(cast.owner.tenant.pk):
        assert ApiKey.objects.get(pk=cast.owner.key_row.pk).last_used_at == used, "never backwards"


def test_a_key_that_changes_the_wallet_is_given_only_by_who_may(cast: Cast) -> None:
    ada, dev = cast.owner, make_person("dev", beside=cast.owner, role="developer")
    form = {"name": "money", "access": "chosen", "scopes": "billing.write", "expires": "never", "once": "one"}
    assert dev.browser.post(f"{dev.workspace}/keys/new", form).status_code == 422
    assert ada.browser.post(f"{ada.workspace}/keys/new", form).status_code == 200
    with tenant_scope(ada.tenant.pk):
        key = ApiKey.objects.get(name="money")
    turn = f"/keys/{key.public_id}/rotate"
    assert dev.browser.post(f"{dev.workspace}{turn}", {"overlap": "24", "once": "two"}).status_code == 403
    assert ada.browser.post(f"{ada.workspace}{turn}", {"overlap": "24", "once": "two"}).status_code == 200


def test_a_key_that_may_more_at_the_moment_of_its_rotation_hands_nothing_out(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, dev = cast.owner, make_person("dev", beside=cast.owner, role="developer")
    real = keys.key_rotate

    def later(**asked: Any) -> Any:  # the owner was faster than the lock
        ApiKey.objects.filter(pk=asked["key"].pk).update(scopes=[*ada.key_row.scopes, "billing.write"])
        return real(**asked)

    monkeypatch.setattr(keys, "key_rotate", later)
    path = f"{dev.workspace}/keys/{ada.key_row.public_id}/rotate"
    assert dev.browser.post(path, {"overlap": "24", "once": "one"}).status_code == 403
    with tenant_scope(ada.tenant.pk):
        assert not ApiKey.objects.filter(rotated_from=ada.key_row).exists()
        assert ApiKey.objects.get(pk=ada.key_row.pk).expires_at is None
