"""What opens the gateway for a line: only what we made, for minutes, and never more than its key may do."""

from __future__ import annotations

import json
import time

import pytest
from django.core import signing

from batches import credential
from batches.credential import Caller, identity_of, request_id_of, sign
from kit.ids import new_id
from tenants.models import Member, User
from tenants.models.organisations import Role
from tenants.scope import tenant_scope
from tests.batches.making import chat
from tests.gateway.writing_engine import CHAT, Wired, on_plan

pytestmark = pytest.mark.slow  # starts a server


def test_it_says_what_was_signed_and_nothing_that_was_not() -> None:
    caller, line = Caller(new_id(), new_id(), None, new_id()), new_id()
    text = sign(caller, line)
    read = credential.read(text)
    assert read is not None and read.caller == caller and read.identity == line
    for wrong in ("", "ts_live_x", text[:-1], text.replace("_", "-", 1), credential.PREFIX + signing.dumps([1])):
        assert credential.read(wrong) is None


def test_it_is_old_after_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = sign(Caller(new_id(), new_id(), new_id(), None), new_id())
    later = time.time() + credential.SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    assert credential.read(text) is None


def test_the_request_id_of_a_line_never_changes_and_is_no_other_lines() -> None:
    batch, other = new_id(), new_id()
    assert request_id_of(batch, 1) == request_id_of(batch, 1)
    assert len({request_id_of(one, line) for one in (batch, other) for line in range(1000)}) == 2000


def test_a_forged_one_opens_nothing_and_an_honest_one_the_gateway_alone(writing: Wired) -> None:
    ada, bob = on_plan("ada"), on_plan("bob")
    word = writing.word()
    writing.engine.plan(word, "yes")
    body = chat("a", word)["body"]
    honest = sign(Caller(ada.tenant.id, ada.project.pk, ada.key_row.pk, None), identity_of(new_id(), 1))
    assert writing.post(CHAT, body, honest).status_code == 200
    for forged in (
        honest[:-3] + "abc",
        "tsbatch_" + signing.dumps([ada.tenant.id.hex] * 5, salt="another"),
        sign(Caller(bob.tenant.id, bob.project.pk, ada.key_row.pk, None), new_id()),  # a key of somebody else's
        sign(Caller(ada.tenant.id, bob.project.pk, ada.key_row.pk, None), new_id()),
        sign(Caller(ada.tenant.id, new_id(), None, ada.user.pk), new_id()),
    ):
        refused = writing.post(CHAT, body, forged)
        assert refused.status_code == 401, refused.text
    assert json.loads(ada.api.get("/v1/files", Authorization=f"Bearer {honest}").content)["error"]["code"] == (
        "invalid_api_key"
    )


def test_a_members_line_is_answered_while_they_have_a_seat_whose_role_calls_models(writing: Wired) -> None:
    ada, word = on_plan("seated"), writing.word()
    writing.engine.plan(word, "yes")
    body = chat("a", word)["body"]

    def asked() -> tuple[int, str]:
        answer = writing.post(CHAT, body, sign(Caller(ada.tenant.id, ada.project.pk, None, ada.user.pk), new_id()))
        return answer.status_code, answer.text

    with tenant_scope(ada.tenant.id):
        Member.objects.filter(user=ada.user).update(role=Role.VIEWER)
    status, text = asked()
    assert status == 401 and "viewer, does not include 'inference'" in text
    with tenant_scope(ada.tenant.id):
        Member.objects.filter(user=ada.user).delete()
    status, text = asked()
    assert status == 401 and "has left the organi" in text
    with tenant_scope(ada.tenant.id):
        Member.objects.create(user=User.objects.get(pk=ada.user.pk), role=Role.DEVELOPER)
    assert asked()[0] == 200
    with tenant_scope(ada.tenant.id):
        Member.objects.filter(user=ada.user).delete()
    time.sleep(2.1)  # what the gateway had read is old by now
    assert asked()[0] == 401
