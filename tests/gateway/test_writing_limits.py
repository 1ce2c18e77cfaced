"""Limits of output tokens, of a model and of a member hold for text that is written, and are explained."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest

from billing.models import QuotaDecision
from billing.services.limits import member_limits_set, model_limits_set
from gateway import keys
from gateway.writing import metered
from gateway.writing.rendering import LONGEST_TOKEN
from kit.metrics import REGISTRY
from tenants.models import Member
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.writing_calls import only
from tests.gateway.writing_engine import CHAT, CONTEXT, WRITER, Wired, key_with, on_plan, prompt_of, says, until

pytestmark = pytest.mark.slow  # starts a server

LONG = CONTEXT * LONGEST_TOKEN + 1


@pytest.fixture
def eve(writing: Wired) -> Person:
    return on_plan("eve")


def refusals(person: Person) -> list[QuotaDecision]:
    with tenant_scope(person.tenant.id):
        return list(QuotaDecision.objects.order_by("at"))


def test_a_models_limit_of_output_tokens_bounds_the_first_answer_and_refuses_the_next(
    writing: Wired, eve: Person
) -> None:
    with tenant_scope(eve.tenant.id):
        limits = {"output_tokens_per_minute": 40}
        model_limits_set(project=eve.project, model=WRITER, limits=limits)
    word = writing.word()
    writing.engine.plan(word)
    client = writing.client(key_with(eve))
    answered = client.chat.completions.with_raw_response.create(model=WRITER, messages=says(word), max_tokens=2000)
    asked = only(writing, word)
    assert asked.message.allowed == 40
    assert answered.parse().choices[0].finish_reason == "budget"
    assert answered.headers["x-ratelimit-limit-output-tokens"] == "40"
    assert answered.headers["x-ratelimit-remaining-output-tokens"] == "0"
    with pytest.raises(openai.RateLimitError, match=f"of the model '{WRITER}' in your project reached: 40 output"):
        client.completions.create(model=WRITER, prompt=word, max_tokens=metered.LEAST)
    until(lambda: len(refusals(eve)) == 2)
    ended, refused = refusals(eve)
    assert (ended.layer, ended.limit_kind, ended.status, ended.kind) == ("model", "output_tokens", 200, "chat")
    assert (refused.layer, refused.limit_kind, refused.status, refused.kind) == (
        "model", "output_tokens", 429, "completions",
    )  # fmt: skip
    assert refused.asked == metered.LEAST


def test_a_call_that_fits_with_fewer_tokens_is_no_refusal(writing: Wired, eve: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, *"abc")
    with tenant_scope(eve.tenant.id):
        member = Member.objects.get(user=eve.user)
        member_limits_set(member=member, limits={"tokens_per_minute": prompt_of(word) + 20})
    answer = writing.client(eve.key).chat.completions.create(model=WRITER, messages=says(word))
    assert answer.choices[0].finish_reason == "stop"
    with pytest.raises(openai.RateLimitError, match="the member who made this API key"):
        writing.client(eve.key).chat.completions.create(model=WRITER, messages=says(word * 9))
    until(lambda: len(refusals(eve)) > 0)
    assert [(one.layer, one.reason, one.refused) for one in refusals(eve)] == [("member", "too_large", 1)]


def test_one_organisation_has_two_long_bodies_rendered_at_a_time_and_nobody_waits_for_it(
    writing: Wired, eve: Person
) -> None:
    """Rendering is before the quota: nothing else holds it back."""
    word, other = writing.word(), on_plan("adam")
    writing.engine.plan(word, "a", render_s=0.3)
    body = json.dumps({"model": WRITER, "messages": says(word)}).encode() + b" " * 30_000  # two of them are 64 KiB
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(writing.post, CHAT, body, eve.key) for _ in range(8)]
        until(lambda: writing.engine.rendering == 2)
        free = writing.post(CHAT, {"model": WRITER, "messages": says("x"), "max_tokens": 1}, other.key)
        assert free.status_code == 200
        assert not all(answer.done() for answer in answers)
        assert [answer.result().status_code for answer in answers] == [200] * 8
    assert writing.engine.most_rendering == 2


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"messages": says("x" * LONG)}, "messages"),
        (CHAT, {"messages": says("x"), "tools": [
            {"type": "function", "function": {"name": "a", "description": "x" * LONG}}]}, "messages"),
        ("/v1/completions", {"prompt": ["x", "x" * LONG]}, "prompt"),
    ],
)  # fmt: skip
def test_a_prompt_that_cannot_fit_is_not_rendered(
    writing: Wired, eve: Person, path: str, body: dict[str, object], param: str
) -> None:
    before = len(writing.engine.rendered)
    answer = writing.post(path, {"model": WRITER} | body, eve.key)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", param)
    assert "4,096 tokens" in error["message"] and "longer than any that fits" in error["message"]
    assert len(writing.engine.rendered) == before


def looked_up() -> float:
    return REGISTRY.get_sample_value("gateway_cold_lookups_total", {"what": "key"}) or 0.0


def test_two_hundred_first_calls_of_one_key_share_one_look_up(
    writing: Wired, eve: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only different keys that nobody knows yet count against what may be looked up at once."""
    monkeypatch.setattr(keys, "MAX_COLD", 1)
    key, calls = key_with(eve), 200
    body = {"model": WRITER, "messages": says("x"), "max_tokens": 1}
    before = looked_up()

    async def main() -> list[int]:
        limits, headers = httpx2.Limits(max_connections=calls), {"authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(timeout=60, limits=limits, headers=headers) as client:
            answers = await asyncio.gather(*(client.post(writing.url + CHAT, json=body) for _ in range(calls)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(main()) == [200] * calls
    assert looked_up() == before + 1
    monkeypatch.setattr(keys, "MAX_COLD", 0)
    assert writing.post(CHAT, body, key_with(eve)).status_code == 503
    assert writing.post(CHAT, body, key).status_code == 200
