"""Limits of output tokens, of a model and of a member hold for text that is written, and are explained."""

from __future__ import annotations

import openai
import pytest

from billing.models import QuotaDecision
from billing.services.limits import member_limits_set, model_limits_set
from gateway.writing import metered
from tenants.models import Member
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.writing_engine import WRITER, Wired, key_with, on_plan, only, prompt_of, says, until

pytestmark = pytest.mark.slow  # starts a server


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
