"""Metering: from a call to a row in Postgres without losing or doubling one. No Django.

    spool = SpoolWriter(folder)                       # one per process
    Shipper(folder, PostgresSink(dsn), writer=spool).start()
    spool.append(UsageEvent(...))                     # one write() before the answer's last byte

`QuotaGate` (billing.quotas.gate) does this for the gateway.
"""

from billing.metering.events import UsageEvent, event_id
from billing.metering.shipper import PoisonEvent, Shipper
from billing.metering.sink import PostgresSink
from billing.metering.spool import SpoolError, SpoolWriter

__all__ = ["PoisonEvent", "PostgresSink", "Shipper", "SpoolError", "SpoolWriter", "UsageEvent", "event_id"]
