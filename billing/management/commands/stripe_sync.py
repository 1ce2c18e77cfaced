"""`manage.py stripe_sync`: push the plan files to Stripe, then fetch what webhooks may have missed."""

from typing import Any

from django.core.management.base import BaseCommand

from billing.services.catalogue import catalogue_push, promotions_push
from billing.services.webhooks import stripe_sweep


class Command(BaseCommand):
    """Catalogue out, events in. Safe to repeat."""

    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        """Run both and say what happened."""
        for entry in catalogue_push():
            self.stdout.write(f"{entry}: {entry.price_id}")
        for one in promotions_push():
            self.stdout.write(f"{one.code}: {one.percent_off} % off, {one.name}")
        counts = stripe_sweep()
        said = "{events} missed events, {customers} customers looked at again, {failed} could not be"
        self.stdout.write(said.format(**counts))
