"""`manage.py stripe_sync`: push the plan files to Stripe, then fetch what webhooks may have missed.

`--webhook` makes the webhook endpoint first, with the version of the API that this code speaks, and prints its secret.
"""

import argparse
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from billing.models import BillSink
from billing.services.catalogue import catalogue_push, meter_prices_push, promotions_push
from billing.services.reconcile import endpoint_ensure, stripe_compare, thin_destination_ensure, webhook_url
from billing.services.webhooks import stripe_sweep


class Command(BaseCommand):
    """Catalogue out, events in. Safe to repeat."""

    help = __doc__

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """`--webhook`, `--compare`."""
        parser.add_argument("--webhook", action="store_true", help="make the endpoint Stripe sends events to")
        parser.add_argument("--compare", action="store_true", help="compare with Stripe afterwards, as each day")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run both and say what happened."""
        meters = settings.USAGE_SINK == BillSink.Sink.METER_EVENTS
        if options["webhook"]:
            endpoint, secret = endpoint_ensure()
            self.stdout.write(f"{webhook_url()}: {endpoint}, version {settings.STRIPE_API_VERSION}")
            if secret:
                self.stdout.write(f"Set STRIPE_WEBHOOK_SECRET={secret} and restart; Stripe says it this once.")
            if meters:
                made, secret = thin_destination_ensure()
                self.stdout.write(f"{webhook_url()}: {made}, thin events of meters")
                if secret:
                    self.stdout.write(f"Set STRIPE_THIN_SECRET={secret} and restart; Stripe says it this once.")
        if meters:
            for entry in meter_prices_push():
                self.stdout.write(f"{entry}: {entry.price_id}")
        for entry in catalogue_push():
            self.stdout.write(f"{entry}: {entry.price_id}")
        for one in promotions_push():
            self.stdout.write(f"{one.code}: {one.percent_off} % off, {one.name}")
        counts = stripe_sweep()
        said = "{events} missed events, {customers} customers looked at again, {failed} could not be"
        self.stdout.write(said.format(**counts))
        if options["compare"]:
            self.stdout.write(f"{stripe_compare()} differences to Stripe")
