"""`manage.py billing_check`: are the books right, to the nano?"""

import argparse
import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand

from billing.selectors.invariants import CHECKS, findings


class Command(BaseCommand):
    """Nightly: exits 1 when one nano is not where it must be."""

    help = (
        "Checks events against prices, sums against events, the ledger against sums, bills against the ledger, "
        "the ledger against what Stripe says of invoices, credit notes, refunds and disputes."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """`--tenant` may be given several times."""
        parser.add_argument("--tenant", action="append", type=UUID, help="check only this tenant")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print each finding, then the verdict."""
        count = 0
        for finding in findings(options["tenant"]):
            count += 1
            self.stdout.write(f"{finding.tenant_id}  {finding.check}: {finding.message}")
        if count:
            self.stderr.write(f"{count} findings: the books are wrong.")
            sys.exit(1)
        for check in CHECKS:
            self.stdout.write(f"ok  {check.__name__}: {(check.__doc__ or '').partition(chr(10))[0]}")
        self.stdout.write(f"The books are right: {len(CHECKS)} checks, no finding.")
