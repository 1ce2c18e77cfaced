"""Where a gateway can be made to die."""

from pathlib import Path
from typing import Any

from billing.metering import sink
from billing.metering.shipper import Shipper
from billing.metering.spool import SpoolWriter
from billing.quotas import QuotaGate, QuotaStore
from billing.services import leases
from gateway import app

BORDERS: dict[str, tuple[Any, str, bool]] = {
    "reserved": (QuotaGate, "admit", True),
    "extended": (QuotaGate, "extend_by", True),
    "computed": (QuotaGate, "settle", False),
    "written in half": (SpoolWriter, "append", False),
    "written": (SpoolWriter, "append", True),
    "settled": (QuotaGate, "settle", True),
    "answered": (app, "answer", True),
    "to be shipped": (Shipper, "_send", False),
    "in the database": (sink.PostgresSink, "__call__", True),
    "shipped": (Shipper, "_send", True),
    "file to be removed": (Path, "unlink", False),
    "block debited": (QuotaStore, "grant", False),
    "block granted": (QuotaStore, "grant", True),
    "block noted": (leases, "_sent", True),
}
"""Before a step of its call, or after it (true)."""
