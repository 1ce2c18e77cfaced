"""`manage.py tenant_create --email E --name N --plan P --currency C`: an organisation, a project, an owner and a key
from the shell.

Running it again with the same address gives the same person another organisation.
"""

import json
import secrets
from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import CommandError
from django.core.management.base import BaseCommand
from django.core.validators import validate_email
from django.db import transaction

from billing.selectors.subscriptions import plan_named
from billing.services.entitlements import plan_grant
from console.currencies import sold
from kit.errors import ApiError, BadRequest
from kit.money import HOUSE
from tenants.models import User
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tenants.services.organisations import NewTenant, tenant_create


@dataclass(frozen=True, slots=True)
class Made:
    """What the command prints."""

    tenant: NewTenant
    user: User
    password: str
    key_id: str
    key: str

    def as_json(self) -> dict[str, Any]:
        """The contract scripts rely on."""
        return {
            "tenant": {"id": self.tenant.tenant.public_id},
            "project": {"id": self.tenant.project.public_id},
            "user": {"email": self.user.email},
            "api_key": {"id": self.key_id, "key": self.key},
            "base_url": f"{settings.BASE_URL}/v1",
        }


class Command(BaseCommand):
    """Make a tenant."""

    help = "Make an organisation with a project, an owner and an API key; the key is printed once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who, what, and how to print."""
        parser.add_argument("--email", required=True, help="the owner; an existing account is used as it is")
        parser.add_argument("--name", required=True, help="name of the organisation")
        parser.add_argument("--plan", default="free", help="plan granted without payment (default: free)")
        parser.add_argument("--currency", default=HOUSE, help="what it pays in, for good (default: %(default)s)")
        parser.add_argument("--password", default="", help="of a new account; without one, a random one is printed")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make and print it."""
        try:
            validate_email(options["email"])
            made = make(options["email"], options["name"], options["plan"], options["password"], options["currency"])
        except ValidationError as error:
            raise CommandError("--email needs an e-mail address, for example ada@example.com.") from error
        except ApiError as error:
            raise CommandError(error.message) from error
        if options["json"]:
            self.stdout.write(json.dumps(made.as_json()))
            return
        self.stdout.write(f"organisation  {made.tenant.tenant.name} ({made.tenant.tenant.public_id})")
        self.stdout.write(f"project       {made.tenant.project.name} ({made.tenant.project.public_id})")
        self.stdout.write(f"sign in       {made.user.email}" + (f" / {made.password}" if made.password else ""))
        self.stdout.write(f"export TUNESMITH_API_KEY={made.key}")


def make(email: str, name: str, plan: str, password: str = "", currency: str = HOUSE) -> Made:
    """Everything or nothing, in one transaction. BadRequest for a currency in which nothing is sold."""
    plan_named(plan)
    code = currency.strip().lower()
    if code not in sold():
        words = f"Nothing is sold in '{currency[:20]}'. Currencies: {', '.join(sold())}."
        raise BadRequest(words, param="currency")
    with transaction.atomic():
        user, password = _owner(email, password)
        made = tenant_create(name=name, owner=user, currency=code)
        with tenant_scope(made.tenant.pk):
            plan_grant(plan=plan, reason="tenant_create", created_by="shell")
            key, plaintext = key_create(project=made.project, name="first key", created_by=user)
    return Made(made, user, password, key.public_id, plaintext)


def _owner(email: str, password: str) -> tuple[User, str]:
    """(user, password of a new account or nothing)."""
    known = User.objects.filter(email__iexact=email.strip()).first()
    if known is not None:
        return known, ""
    password = password or secrets.token_urlsafe(12)
    user = User.objects.create_user(email.strip(), password)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user, password
