"""Entering what was spent to win customers."""

from __future__ import annotations

import datetime as dt

from django.db import connections, transaction
from django.db.models import Sum

from billing.models import AcquisitionSpend
from billing.periods import month_of
from kit.clock import now
from kit.errors import BadRequest
from kit.money import LIMIT, usd
from tenants.scope import OPS

FIRST = dt.date(2000, 1, 1)


def spend_add(*, month: dt.date, channel: str, nano: int, entered_by: str) -> AcquisitionSpend:
    """Add an amount to what a channel cost in a month; a negative one takes back. BadRequest for a month to come, a
    channel without a name, nothing, too much, or more taken back than was entered."""
    channel = " ".join(channel.split())
    if not 1 <= len(channel) <= 40 or not channel.isprintable():
        raise BadRequest("Give the channel a name of at most 40 characters, such as Search ads.", param="channel")
    if month != month_of(month) or not FIRST <= month <= month_of(now().astimezone(dt.UTC)):
        raise BadRequest("Choose a month that has begun, from 2000-01 on.", param="month")
    if not nano or abs(nano) > LIMIT:
        raise BadRequest(f"Enter an amount other than 0, of at most {usd(LIMIT, places=0)}.", param="amount")
    with transaction.atomic(using=OPS):
        with connections[OPS].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('acquisition spend'))")
        spent = AcquisitionSpend.objects.filter(channel__iexact=channel)
        channel = spent.values_list("channel", flat=True).first() or channel
        there = spent.filter(month=month).aggregate(nano=Sum("amount_nano"))["nano"] or 0
        if there + nano < 0:
            raise BadRequest(
                f"{channel} has {usd(int(there))} in {month:%Y-%m}: take back at most that.", param="amount"
            )
        return AcquisitionSpend.objects.create(
            month=month, channel=channel, amount_nano=nano, entered_by=entered_by[:254]
        )
