"""The secrets that sign deliveries: replaced, sealed, and moved to a new key of the server."""

import datetime as dt
from typing import Any

import openai
import pytest

from hooks import services
from hooks.delivery import deliver_due
from kit.clock import now
from ops.tables import SECRET
from tenants.scope import ops_scope
from tests.conftest import Cast
from tests.hooks.receiver import (
    Receiver,
    change,
    happen,
    log,
    row_of,
    subscribe,
    unwrap,
)


def test_both_secrets_sign_while_one_replaces_the_other(cast: Cast, receiver: Receiver) -> None:
    old = subscribe(cast.owner, receiver.url)
    path = f"/v1/webhook_endpoints/{old['id']}/rotate_secret"
    new = cast.owner.api.post(path, {"keep_old_secret_active_for_24_hours": True}).json()
    happen(cast.owner)
    deliver_due()
    for secret in (old["signing_secret"], new["signing_secret"]):
        unwrap(receiver.taken[0], secret)
    change(cast.owner, old, old_secret_until=now() - dt.timedelta(seconds=1))
    happen(cast.owner)
    deliver_due()
    unwrap(receiver.taken[1], new["signing_secret"])
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(receiver.taken[1], old["signing_secret"])


def test_a_rotation_ends_the_old_secret_at_once_unless_it_is_kept(cast: Cast, receiver: Receiver) -> None:
    old = subscribe(cast.owner, receiver.url)
    new = cast.owner.api.post(f"/v1/webhook_endpoints/{old['id']}/rotate_secret").json()
    happen(cast.owner)
    deliver_due()
    assert len(receiver.taken[0].headers["webhook-signature"].split()) == 1
    unwrap(receiver.taken[0], new["signing_secret"])


def test_secrets_move_to_a_new_server_key_and_a_lost_key_is_said(cast: Cast, receiver: Receiver, settings: Any) -> None:
    made = subscribe(cast.owner, receiver.url)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "x" * 60
    assert services.secrets_renew() >= 1
    assert services.secrets_renew() == 0
    settings.SECRET_KEY_FALLBACKS = []
    happen(cast.owner)
    deliver_due()
    unwrap(receiver.taken[0], made["signing_secret"])
    settings.SECRET_KEY = "y" * 60
    happen(cast.owner)
    deliver_due()
    seen = log(cast.owner, made)[0]
    assert (seen["state"], len(receiver.taken)) == ("blocked", 1)
    assert "Rotate the secret" in seen["tries"][0]["error"]
    settings.SECRET_KEY = "x" * 60
    with ops_scope("leave nothing behind that later tests cannot open"):
        row_of(cast.owner, made).delete()


def test_a_secret_lies_sealed_and_staff_see_none(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    row = row_of(cast.owner, made)
    assert made["signing_secret"] not in row.secret
    assert {"secret", "old_secret"} <= SECRET
