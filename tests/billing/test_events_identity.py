"""An event's identity is the standard's: anybody can compute it from tenant, request and kind."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from billing.metering.events import event_id


@given(st.uuids(), st.text(), st.text())
def test_it_is_version_five_of_the_tenants_namespace(tenant: uuid.UUID, request: str, kind: str) -> None:
    assert event_id(tenant, request, kind) == uuid.uuid5(tenant, f"{request}\x00{kind}")
