"""What is asked of Stripe about the meter."""

import datetime as dt

from django.db.models import Sum

from billing.errors import StripeMissing
from billing.models import MeterReading, StripeCommand
from billing.selectors.items import is_metered
from billing.selectors.meters import (
    METER,
    metered_item,
    metered_subscription,
    metering_subscription,
    reading_moment,
)
from billing.selectors.subscriptions import customer_current
from billing.services.catalogue import meter_price_ensure
from billing.services.operation import NotNeeded, NotYet, Operation
from billing.services.sync import subscription_sync
from billing.stripe_port import Json, StripePort
from kit.clock import now
from kit.money import HOUSE, currency
from tenants.scope import tenant_scope


def _item_build(command: StripeCommand) -> Json:
    current = metering_subscription()
    if current is None or current.stripe_id != command.params["subscription"]:
        raise NotNeeded("That subscription does not bill by the month any more.")
    if metered_item(current) is not None:
        raise NotNeeded("The meter is on that subscription.")
    return {"subscription": current.stripe_id, "currency": currency()}


def _item_send(port: StripePort, request: Json, key: str) -> Json:
    def send(price_id: str) -> str:
        return port.meter_item_add(request["subscription"], price_id=price_id, key=f"{key}/{price_id}")

    paid_in = request.get("currency") or HOUSE  # commands of before it was asked are the house's
    try:
        return {"item": send(meter_price_ensure(currency=paid_in).price_id)}
    except StripeMissing:  # noted of another account
        return {"item": send(meter_price_ensure(currency=paid_in, ask=True).price_id)}


def _item_look(port: StripePort, command: StripeCommand) -> Json | None:
    found = port.subscription_fetch(command.params["subscription"]) or {"items": {"data": []}}
    return next(({"item": one["id"]} for one in found["items"]["data"] if is_metered(one["price"])), None)


def _event_build(command: StripeCommand) -> Json:
    reading = MeterReading.objects.get(pk=command.params["reading"])
    current = metered_subscription()
    if reading.state != MeterReading.State.WAITING or current is None:
        raise NotNeeded("No meter can take it any more.")
    customer = customer_current()
    if customer is None:
        raise NotYet("The organisation is not at Stripe yet.")
    reading.at, reading.subscription_id = reading_moment(reading, current, now()), current.stripe_id
    reading.save(update_fields=["at", "subscription_id"])
    return {
        "event_name": METER,
        "customer_id": customer.stripe_id,
        "units": reading.units,
        "identifier": reading.identifier,
        "at": int(reading.at.timestamp()),
    }


def _event_send(port: StripePort, request: Json, key: str) -> Json:
    return {"fresh": port.meter_event_send(**request, key=key)}


def _event_look(port: StripePort, command: StripeCommand) -> Json | None:
    request = command.request or {}
    meter, minute = port.meter_named(METER), request["at"] // 60 * 60
    if not meter:
        return None
    counted = port.meter_counted(meter, customer_id=request["customer_id"], start=minute, end=minute + 60)
    begin = dt.datetime.fromtimestamp(minute, dt.UTC)
    with tenant_scope(command.tenant_id):
        others = MeterReading.objects.filter(at__gte=begin, at__lt=begin + dt.timedelta(minutes=1), refused=False)
        sent = others.exclude(sent_at=None).aggregate(n=Sum("units"))["n"] or 0
    return {"fresh": False} if counted >= sent + request["units"] else None


def _event_apply(command: StripeCommand) -> None:
    waiting = MeterReading.objects.filter(pk=command.params["reading"], state=MeterReading.State.WAITING)
    waiting.update(state=MeterReading.State.SENT, sent_at=now())


def _item_after(command: StripeCommand) -> None:
    customer = customer_current()
    if customer is not None:
        subscription_sync(customer=customer, subscription_id=command.params["subscription"])


ITEM = Operation(_item_build, _item_send, _item_look, after=_item_after)
"""Put the meter's price on a subscription."""
EVENT = Operation(_event_build, _event_send, _event_look, _event_apply)
"""Tell the meter of one reading."""
