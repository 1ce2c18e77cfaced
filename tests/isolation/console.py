"""Pages of the console, landing and docs."""

from tests.isolation.routes import Policy

PUBLIC = Policy("public", success={"GET": 200})
TOLD_APART = Policy("public", success={})
"""Public pages with a parameter of ours (a chapter's name); they hold no tenant's data and have tests of their own."""

POLICIES: dict[str, Policy] = {
    "": PUBLIC,
    "pricing": PUBLIC,
    "docs/": PUBLIC,
    "docs/api/": PUBLIC,
    "docs/api/<slug:group>": TOLD_APART,
    "docs/<slug:slug>": TOLD_APART,
    "styleguide": TOLD_APART,  # development only
    "theme": Policy("public", success={"GET": 405}),
    "keys": Policy("public", success={"GET": 405}),
    "search": PUBLIC,
    "o/": Policy("page", success={"GET": 302}),
    "o/<slug:org>/": Policy("page", success={"GET": 302}),
    "o/<slug:org>/billing/": Policy("page", success={"GET": 200}),
    "o/<slug:org>/billing/checkout": Policy("page", success={"GET": 405}),  # POST leads to Stripe; tested there
    "o/<slug:org>/billing/portal": Policy("page", success={"GET": 405}),
    "o/<slug:org>/billing/plan": Policy("page", success={"GET": 405, "POST": 422}),
    "o/<slug:org>/p/<slug:project>/": Policy("page", success={"GET": 200}),
}
