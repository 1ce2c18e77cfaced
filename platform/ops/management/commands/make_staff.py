"""`manage.py make_staff --email E --reason R`: promote a user; `/staff/` opens once they have a second factor."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError
from django.core.management.base import BaseCommand

from kit.errors import NotFound
from ops.services import staff_make


class Command(BaseCommand):
    """Promote a user to staff."""

    help = "Make an existing user a member of staff. They need an authenticator app or a passkey to open /staff/."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who, and why."""
        parser.add_argument("--email", required=True)
        parser.add_argument("--reason", required=True, help="kept in the staff log")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it and say what comes next."""
        try:
            user = staff_make(email=options["email"], reason=options["reason"])
        except NotFound as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{user.email} is staff. Next: sign in, set up two-factor, open /staff/.")
