"""`manage.py rerate`: price usage of some days by another price version."""

import argparse
import csv
import datetime as dt
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.services.rerating import Wanted, rerate, rerating_preview
from kit.errors import ApiError
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope

COLUMNS = ("day", "project", "model", "kind", "charged by", "events", "before, nano-{0}", "after, nano-{0}")


class Command(BaseCommand):
    """Without `--apply` nothing is changed: the table says what would be."""

    help = (
        "Prices an organisation's usage of some days anew and compensates the difference: a line of its own on the "
        "bill of an open month, credit for a month that was billed. Prints a CSV; changes nothing without --apply."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Whose usage, of which days, by which prices, and why."""
        parser.add_argument("organisation", help="its short name")
        parser.add_argument("--from", dest="first", type=dt.date.fromisoformat, required=True, metavar="DAY")
        parser.add_argument("--until", dest="last", type=dt.date.fromisoformat, required=True, metavar="DAY")
        parser.add_argument("--to", dest="version", required=True, help="the price version to price by")
        parser.add_argument("--kind", default="", help="only usage of this kind")
        parser.add_argument("--base", default="", help="only usage of this base and of models tuned on it")
        parser.add_argument("--apply", metavar="REASON", default="", help="do it; the customer reads why")
        parser.add_argument("--by", default="shell", help="who decided it")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the lines that change, and change them when told to."""
        with ops_scope("find an organisation by its name"):
            tenant = Tenant.ops.filter(slug=options["organisation"]).first()
        if tenant is None:
            raise CommandError(f"There is no organisation {options['organisation']!r}.")
        paid_in = tenant.currency.upper()
        names = ("first", "last", "version", "kind", "base")
        wanted = Wanted(*(options[name] for name in names))
        try:
            with tenant_scope(tenant.pk):
                found = rerating_preview(wanted=wanted)
            table = csv.writer(self.stdout)
            table.writerow([name.format(paid_in) for name in COLUMNS])
            for one in found:
                table.writerow([*map(str, one.line), one.events, one.before_nano, one.after_nano])
            if options["apply"] and found:
                actor = ("system", "shell", options["by"])
                rerate(
                    tenant_id=tenant.pk, wanted=wanted, reason=options["apply"], created_by=options["by"], actor=actor
                )
        except ApiError as error:
            raise CommandError(error.message) from error
        delta = sum(one.delta_nano for one in found)
        done = "changed" if options["apply"] else "would change"
        self.stderr.write(f"{len(found)} lines {done}, by {delta} nano-{paid_in} in all.")
