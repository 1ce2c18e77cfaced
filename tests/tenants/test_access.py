"""The door: keys open exactly what they should."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from kit.clock import now
from tenants import keys
from tenants.access import resolve_key
from tenants.errors import KeyRefused, TenantSuspended
from tenants.models import ApiKey, AuditEvent, Project, Tenant
from tenants.scope import ScopeError, ops_scope, tenant_scope
from tenants.services.keys import key_revoke, key_rotate
from tests.conftest import Cast


def test_a_fresh_key_resolves_to_its_tenant_and_project(cast: Cast) -> None:
    context = resolve_key(f"Bearer {cast.owner.key}")
    assert (context.tenant_id, context.project_id) == (cast.owner.tenant.id, cast.owner.project.id)


BREAKS: dict[str, Callable[[str], str]] = {
    "last character": lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
    "no checksum": lambda key: key[:-7],
    "nothing": lambda key: "",
}


@pytest.mark.parametrize("change", BREAKS.values(), ids=BREAKS.keys())
def test_a_key_with_a_broken_checksum_never_reaches_the_database(
    cast: Cast, change: Callable[[str], str], django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0), pytest.raises(KeyRefused):
        resolve_key(f"Bearer {change(cast.owner.key)}")


def test_a_right_id_with_a_wrong_secret_is_refused(cast: Cast) -> None:
    body = f"ts_live_{cast.owner.key_row.lookup}_{'x' * 32}"
    with pytest.raises(KeyRefused):
        resolve_key(f"Bearer {body}_{keys.checksum(body)}")


def test_a_revoked_key_is_refused_and_the_change_is_audited(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        key_revoke(key=cast.owner.key_row)
        assert AuditEvent.objects.filter(action="key.revoked").count() == 1
    with pytest.raises(KeyRefused):
        resolve_key(f"Bearer {cast.owner.key}")


def test_rotation_keeps_the_old_key_for_the_overlap_only(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        fresh, plaintext = key_rotate(key=cast.owner.key_row, overlap=dt.timedelta(hours=1))
    assert resolve_key(f"Bearer {cast.owner.key}").key_id == cast.owner.key_row.id
    assert resolve_key(f"Bearer {plaintext}").key_id == fresh.id
    with tenant_scope(cast.owner.tenant.id):
        ApiKey.objects.filter(pk=cast.owner.key_row.id).update(expires_at=now() - dt.timedelta(seconds=1))
    with pytest.raises(KeyRefused):
        resolve_key(f"Bearer {cast.owner.key}")


def test_a_suspended_tenant_is_told_so(cast: Cast) -> None:
    with ops_scope("test"):
        Tenant.ops.filter(pk=cast.owner.tenant.id).update(status="suspended")
    with pytest.raises(TenantSuspended):
        resolve_key(f"Bearer {cast.owner.key}")


def test_a_query_outside_a_scope_raises() -> None:
    with pytest.raises(ScopeError):
        Project.objects.count()
    with pytest.raises(ScopeError):
        Project.ops.count()


def test_a_scope_shows_only_its_own_rows(cast: Cast) -> None:
    theirs = cast.stranger.project.id
    with tenant_scope(cast.owner.tenant.id):
        assert set(Project.objects.values_list("tenant_id", flat=True)) == {cast.owner.tenant.id}
        assert not Project.objects.filter(pk=theirs).exists()


def test_scopes_of_two_tenants_do_not_nest(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id), pytest.raises(ScopeError), tenant_scope(cast.stranger.tenant.id):
        raise AssertionError("the inner scope opened")
