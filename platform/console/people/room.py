"""How many seats and projects the plan has room for."""

from billing.selectors.subscriptions import entitlement_now
from kit.errors import Conflict
from tenants import selectors
from tenants.services.organisations import tenant_turn


def seat_needed(email: str) -> None:
    """Conflict unless one more member (other people's open invitations count) fits the plan. In the tenant's scope."""
    tenant_turn()
    most = entitlement_now().limits.members
    others = selectors.invitations_open().exclude(email=email.strip().lower())
    if selectors.members().count() + others.count() >= most:
        raise Conflict(
            f"Your plan has {most} seats, open invitations included. Withdraw one, or take a larger plan under Billing."
        )


def project_needed() -> None:
    """Conflict unless one more project fits the plan. Inside the tenant's scope."""
    tenant_turn()
    most = entitlement_now().limits.projects
    if selectors.projects().count() >= most:
        raise Conflict(f"Your plan has {most} projects. Archive one, or take a larger plan under Billing.")
