"""Routes of the billing room."""

from tests.isolation.routes import Policy

POLICIES = {
    "webhooks/stripe": Policy("public", success={}),
}
