"""Routes of the billing room."""

from billing.schema import KINDS, UNUSED
from tests.isolation.routes import Policy

POLICIES = {
    **{f"v1/organization/usage/{kind}": Policy("api", success={"GET": 200}) for kind in (*KINDS, *UNUSED)},
    "v1/organization/costs": Policy("api", success={"GET": 200}),
    "v1/organization/limits": Policy("api", success={"GET": 200}),
    "v1/limits": Policy("api", success={"GET": 200}),
    "v1/limits/decisions": Policy("api", success={"GET": 200}),
    "v1/billing/wallet": Policy("api", success={"GET": 200, "POST": 403}),  # no key may unless it was chosen
    "webhooks/stripe": Policy("public", success={}),
}
