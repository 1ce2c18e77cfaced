"""People pages: organisations, members, invitations, keys, audit log, settings."""

from billing.selectors.features import AUDIT_EXPORT
from billing.services.entitlements import override_set
from billing.services.limits import model_limits_set
from tenants.access import PERMISSIONS, AuthContext
from tenants.models import Member, Role
from tenants.scope import tenant_scope
from tenants.services.invitations import invitation_create
from tenants.services.keys import key_create
from tenants.services.organisations import project_create
from tests.conftest import Person, make_person, make_user
from tests.isolation.routes import Ids, Policy

TOLD_APART = Policy("public", success={})
"""Held by a secret token, or development only; tests of their own cover them."""


def owner_context(person: Person) -> AuthContext:
    """The person as an owner in their organisation."""
    return AuthContext(
        tenant_id=person.tenant.id,
        tenant_slug=person.tenant.slug,
        project_id=person.project.id,
        actor_kind="user",
        actor_id=str(person.user.pk),
        actor_label=person.user.email,
        scopes=PERMISSIONS[Role.OWNER],
        role=Role.OWNER,
    )


def _roomy(person: Person) -> Ids:
    """Room for one more seat or project; the plan, and with it every other right, stays."""
    with tenant_scope(person.tenant.id):
        override_set(limits={"members": 99, "projects": 99}, reason="tests", created_by="tests")
    return {}


def _exporting(person: Person) -> Ids:
    """The feature that lets the log out."""
    with tenant_scope(person.tenant.id):
        override_set(features=[AUDIT_EXPORT], reason="tests", created_by="tests")
    return {}


def _key(person: Person) -> Ids:
    with tenant_scope(person.tenant.id):
        return {"key": key_create(project=person.project, name="one", created_by=person.user)[0].public_id}


def _member(person: Person) -> Ids:
    mate = make_person("mate", beside=person, role="viewer")
    with tenant_scope(person.tenant.id):
        return {"member": Member.objects.get(user=mate.user).public_id}


def _invitation(person: Person) -> Ids:
    with tenant_scope(person.tenant.id):
        made, _ = invitation_create(
            email=make_user("guest").email, role="viewer", invited_by=person.user, by=owner_context(person)
        )
        return {"invitation": made.public_id}


def _project(person: Person) -> Ids:
    with tenant_scope(person.tenant.id):
        return {"target": project_create(name="Another").public_id}


def _limited_model(person: Person) -> Ids:
    """A model that only this organisation has heard of."""
    name = f"ft:base:{person.tenant.slug}:s:1"
    with tenant_scope(person.tenant.id):
        model_limits_set(project=person.project, model=name, limits={"concurrency": 1})
    return {"model": name}


KEYS = "o/<slug:org>/p/<slug:project>/keys"
SETTINGS = "o/<slug:org>/settings"

POLICIES: dict[str, Policy] = {
    "o/new": Policy(
        "page", success={"GET": 200, "POST": 302}, bodies={"POST": lambda ids: {"name": "Second", "currency": "usd"}}
    ),
    "invitations/<str:token>": TOLD_APART,
    "dev/mail": Policy("public", success={"GET": 404}),
    "dev/mail/<str:name>": TOLD_APART,
    "o/<slug:org>/members": Policy(
        "page",
        success={"GET": 200, "POST": 302},
        make=_roomy,
        bodies={"POST": lambda ids: {"email": "new@example.com", "role": "viewer"}},
    ),
    "o/<slug:org>/members/<str:member>/limits": Policy(
        "page",
        success={"GET": 200, "POST": 302},
        make=_member,
        bodies={"POST": lambda ids: {"requests_per_minute": "5"}},
    ),
    "o/<slug:org>/p/<slug:project>/limits": Policy("page", success={"GET": 200}),
    "o/<slug:org>/p/<slug:project>/limits/<path:model>": Policy(
        "page",
        success={"GET": 200, "POST": 302},
        make=_limited_model,
        bodies={"POST": lambda ids: {"requests_per_minute": "5"}},
    ),
    "o/<slug:org>/members/<str:member>/role": Policy(
        "page", success={"POST": 302}, make=_member, bodies={"POST": lambda ids: {"role": "developer"}}
    ),
    "o/<slug:org>/members/<str:member>/remove": Policy("page", success={"GET": 200, "POST": 302}, make=_member),
    "o/<slug:org>/invitations/<str:invitation>/resend": Policy("page", success={"POST": 302}, make=_invitation),
    "o/<slug:org>/invitations/<str:invitation>/withdraw": Policy("page", success={"POST": 302}, make=_invitation),
    "o/<slug:org>/audit": Policy("page", success={"GET": 200}),
    "o/<slug:org>/audit.csv": Policy("page", make=_exporting, success={"GET": 200}),
    SETTINGS: Policy("page", success={"GET": 200, "POST": 302}, bodies={"POST": lambda ids: {"name": "Renamed"}}),
    f"{SETTINGS}/projects": Policy(
        "page", success={"POST": 302}, make=_roomy, bodies={"POST": lambda ids: {"name": "Third"}}
    ),
    f"{SETTINGS}/projects/<str:target>": Policy(
        "page", success={"POST": 302}, make=_project, bodies={"POST": lambda ids: {"name": "Renamed"}}
    ),
    f"{SETTINGS}/projects/<str:target>/archive": Policy("page", success={"GET": 200, "POST": 302}, make=_project),
    f"{SETTINGS}/projects/<str:target>/limits": Policy(
        "page",
        success={"GET": 200, "POST": 302},
        make=_project,
        bodies={"POST": lambda ids: {"requests_per_minute": "5"}},
    ),
    f"{SETTINGS}/training": Policy(
        "page", success={"POST": 302}, bodies={"POST": lambda ids: {"shared_training": "on"}}
    ),
    f"{SETTINGS}/leave": Policy("page", success={"GET": 200}),
    f"{SETTINGS}/close": Policy(
        "page", success={"GET": 200, "POST": 422}, bodies={"POST": lambda ids: {"confirm_name": "not its name"}}
    ),
    KEYS: Policy("page", success={"GET": 200}),
    f"{KEYS}/new": Policy(
        "page",
        success={"GET": 200, "POST": 200},
        bodies={"POST": lambda ids: {"name": "new", "access": "all", "expires": "never", "once": "a"}},
    ),
    f"{KEYS}/<str:key>": Policy("page", success={"GET": 200}, make=_key),
    f"{KEYS}/<str:key>/change": Policy(
        "page", success={"GET": 200, "POST": 302}, make=_key, bodies={"POST": lambda ids: {"name": "renamed"}}
    ),
    f"{KEYS}/<str:key>/access": Policy(
        "page", success={"GET": 200, "POST": 302}, make=_key, bodies={"POST": lambda ids: {"access": "read"}}
    ),
    f"{KEYS}/<str:key>/rotate": Policy(
        "page",
        success={"GET": 200, "POST": 200},
        make=_key,
        bodies={"POST": lambda ids: {"overlap": "24", "once": "b"}},
    ),
    f"{KEYS}/<str:key>/revoke": Policy("page", success={"GET": 200, "POST": 302}, make=_key),
}
