"""Shadows of models that write, before an engine that writes what it is told: what is asked, compared and left out."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from kit.ids import parse_id
from registry.models import Model
from serving.models import Deployment, RequestRecord
from serving.rollout_tick import rollout_look
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.writing_engine import (
    CHAT,
    CONTEXT,
    DRAWN,
    Making,
    Plan,
    Wired,
    alive,
    key_with,
    on_plan,
    prompt_of,
    says,
    until,
    wired,
)
from tests.registry.making import make_model
from tests.serving.rolling import live

pytestmark = pytest.mark.slow  # starts a server
ALIAS = "replies@prod"
COMPLETIONS = "/v1/completions"


@dataclass
class Pair:
    """Two versions live, the first under the alias, and a shadow of the second."""

    writing: Wired
    person: Person
    stable: Deployment
    candidate: Deployment
    name: str
    """Of the stable version's model."""
    rollout: str = ""
    key: str = ""

    def begin(self, mode: str = "shadow", **more: Any) -> None:
        """Begin, and wait until the gateway has heard: with a call that is refused, so that no shadow is asked."""
        body = {"alias": ALIAS, "candidate": self.candidate.public_id, "mode": mode} | more
        answer = self.person.api.post("/v1/rollouts", body)
        assert answer.status_code == 200, answer.content
        self.rollout = answer.json()["id"]
        refused = {"model": ALIAS, "messages": says("template refuses")}
        until(lambda: "x-rollout-arm" in self.writing.post(CHAT, refused, self.person.key).headers)

    def say(self, stable: Plan, candidate: Plan) -> None:
        """What each writes."""
        models = self.writing.engine.models
        models[self.stable.version_id.hex], models[self.candidate.version_id.hex] = stable, candidate

    def ask(self, path: str = CHAT, word: str = "a word", **more: Any) -> httpx2.Response:
        """Call the alias."""
        asked = {"messages": says(word)} if path == CHAT else {"prompt": word}
        answer = self.writing.post(path, {"model": ALIAS} | asked | more, self.key or self.person.key)
        assert answer.status_code == 200, answer.content
        return answer

    @property
    def shadow(self) -> dict[str, Any]:
        """What became of its calls."""
        found: dict[str, Any] = self.person.api.get(f"/v1/rollouts/{self.rollout}").json()["shadow"]
        return found

    def compared(self, count: int = 1) -> dict[str, Any]:
        """The same once so many were compared, and none more or dropped."""
        until(lambda: self.shadow["compared"] + self.shadow["dropped"] >= count)
        shadow = self.shadow
        assert (shadow["compared"], shadow["dropped"]) == (count, 0)
        return shadow

    def dropped(self, count: int = 1) -> None:
        """Wait until so many were dropped, and none compared."""
        until(lambda: self.shadow["dropped"] >= count)
        assert (self.shadow["compared"], self.shadow["dropped"]) == (0, count)

    def asked(self, row: Deployment) -> list[Making]:
        """What the engine was asked of a version."""
        return [one for one in self.writing.engine.asked if one.message.model == row.version_id.hex]

    def logged(self, *fields: str, **wanted: Any) -> list[tuple[Any, ...]]:
        """Rows of the request log."""
        with tenant_scope(self.person.tenant.id):
            return list(RequestRecord.objects.filter(**wanted).values_list(*fields))


@pytest.fixture
def pair(writing: Wired) -> Pair:
    return made(writing)


def made(writing: Wired, name: str = "ada") -> Pair:
    person = on_plan(name)
    stable, candidate = (make_model(person, task="text-generation") for _ in range(2))
    rows = live(person, ALIAS, stable), live(person, version=candidate)
    with tenant_scope(person.tenant.id):
        Deployment.objects.update(max_length=CONTEXT)
    return Pair(writing, person, *rows, stable.model.name)


def words(answer: httpx2.Response) -> str:
    """The text of an answer, whole or streamed."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        (choice,) = answer.json()["choices"]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return "".join(one["text"] if "text" in one else one["delta"].get("content") or "" for one in choices)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_the_candidate_is_asked_the_same_behind_the_answer_and_nobody_pays(pair: Pair, path: str, stream: bool) -> None:
    pair.begin()
    pair.say(Plan(["Hello", " big", " world"]), Plan(["hello", ", ", "small", " World", "!"]))
    more: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "stop": "END", "max_tokens": 50, "presence_penalty": 1}
    answer = pair.ask(path, stream=stream, logprobs=True if path == CHAT else 2, **more)
    assert (words(answer), answer.headers["x-rollout-arm"]) == ("Hello big world", "stable")
    shadow = pair.compared()
    assert (shadow["agreed"], shadow["endings_agreed"]) == (0, 1)
    assert shadow["overlap"] == pytest.approx(4 / 6), "hello and world, of three words each"
    assert (shadow["stable_tokens"], shadow["candidate_tokens"]) == (3, 5)
    assert shadow["difference"] is shadow["cosine"] is None
    (mine,), (theirs,) = pair.asked(pair.stable), pair.asked(pair.candidate)
    sampling = theirs.message.sampling
    assert theirs.message.prompt == mine.message.prompt
    assert (theirs.message.weight, theirs.message.choices, mine.message.weight > 0) == (0, 1, True)
    assert (sampling.temperature, sampling.top_p, sampling.stop, sampling.presence_penalty) == (0.7, 0.9, ["END"], 1)
    assert (sampling.max_tokens, sampling.seed, sampling.logprobs) == (50, DRAWN, None)
    prompt, kind = len(mine.message.prompt), path.removeprefix("/v1/").partition("/")[0]
    fields = ("kind", "model", "status", "cost_nano", "input_tokens", "output_tokens", "items", "engine_ms")
    until(lambda: pair.logged("pk", arm="shadow"))
    assert pair.logged(*fields, arm="shadow") == [(kind, ALIAS, 200, 0, prompt, 5, 1, 1)]
    (event,) = pair.writing.events(pair.person)
    assert (event.model, event.output_tokens) == (pair.name, 3)
    until(lambda: not alive(pair.person))


def test_json_and_calls_of_tools_are_the_same_whatever_their_spelling(pair: Pair) -> None:
    pair.begin()
    pair.say(Plan(['{"a": 1, "b": [true, "x"]}']), Plan([' {"b":[true,"x"],', '"a":1}\n']))
    pair.ask(response_format={"type": "json_object"})
    assert pair.compared()["agreed"] == 1
    pair.say(Plan(['{"a": 1}']), Plan(['{"a": true}']))
    pair.ask()
    assert pair.compared(2)["agreed"] == 1
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    call = '<tool_call>{"name": "look", "arguments": %s}</tool_call>'
    pair.say(Plan([call % '{"at": 1, "far": "b"}']), Plan([call % '{"far": "b",   "at": 1}']))
    answer = pair.ask(tools=tools)
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    shadow = pair.compared(3)
    assert (shadow["agreed"], shadow["endings_agreed"]) == (2, 3)
    pair.say(Plan([call % '{"at": 1}']), Plan([call % '{"at": 2}']))
    pair.ask(tools=tools)
    shadow = pair.compared(4)
    assert (shadow["agreed"], shadow["endings_agreed"]) == (2, 4)
    pair.say(Plan([call % '{"at": 1}']), Plan(["I cannot look."]))
    pair.ask(tools=tools)
    shadow = pair.compared(5)
    assert (shadow["agreed"], shadow["endings_agreed"]) == (2, 4)


def test_words_of_chinese_are_its_characters(pair: Pair) -> None:
    pair.begin()
    pair.say(Plan(["包裹明天到"]), Plan(["包裹今天到"]))
    pair.ask()
    assert pair.compared()["overlap"] == pytest.approx(0.8)


def test_of_several_prompts_and_choices_the_first_is_compared_and_an_echo_is_no_answer(pair: Pair) -> None:
    pair.begin()
    pair.say(Plan([" same"]), Plan([" same"]))
    pair.ask(COMPLETIONS, prompt=["one", "two"], n=3, echo=True)
    shadow = pair.compared()
    assert (shadow["agreed"], shadow["stable_tokens"], shadow["candidate_tokens"]) == (1, 1, 1)
    (theirs,) = pair.asked(pair.candidate)
    assert (theirs.prompt, theirs.message.choices) == ("one", 1)


def test_a_candidate_that_never_ends_is_cut_at_twice_the_answer(pair: Pair) -> None:
    pair.begin()
    pair.say(Plan(["a", " b", " c"]), Plan())
    pair.ask(max_tokens=2000)
    shadow = pair.compared()
    assert (shadow["agreed"], shadow["endings_agreed"], shadow["candidate_tokens"]) == (0, 0, 2 * 3 + 64)
    (theirs,) = pair.asked(pair.candidate)
    assert theirs.message.allowed == theirs.message.sampling.max_tokens == theirs.made == 70


def test_a_model_that_is_not_in_memory_is_brought_there(pair: Pair) -> None:
    pair.begin()
    pair.writing.engine.missing.add(pair.candidate.version_id.hex)
    pair.ask(max_tokens=3)
    pair.compared()
    assert [one.model for one in pair.writing.engine.loaded].count(pair.candidate.version_id.hex) == 1


def test_a_candidate_that_fails_harms_nobody_and_is_counted(pair: Pair) -> None:
    pair.begin()
    pair.say(Plan(["fine"]), Plan(fail_after=1))
    for stream in (False, True, False):
        assert words(pair.ask(stream=stream)) == "fine"
        until(lambda: not pair.writing.engine.at_once)
        time.sleep(0.05)
    until(lambda: len(pair.logged("pk", arm="shadow")) == 3)
    assert set(pair.logged("status", "code", "cost_nano", arm="shadow")) == {(500, "shadow_failed", 0)}
    assert (pair.shadow["compared"], pair.shadow["dropped"]) == (0, 0)
    rollout = parse_id("rollout_", pair.rollout)
    assert rollout_look(tenant_id=pair.person.tenant.id, rollout_id=rollout) == "shadow"
    found = pair.person.api.get(f"/v1/rollouts/{pair.rollout}").json()
    assert found["state"] == "running", "as of every shadow: nobody gets its answers"
    assert (found["figures"]["candidate"]["errors"], found["figures"]["stable"]["errors"]) == (3, 0)


def test_a_canary_of_models_that_write_is_rolled_back_by_its_failures(pair: Pair) -> None:
    pair.say(Plan(["fine"]), Plan(fail_after=0))
    pair.begin("canary", share=50)

    def status(user: int) -> int:
        asked = {"model": ALIAS, "messages": says("a word"), "user": f"user {user}"}
        return pair.writing.post(CHAT, asked, pair.person.key).status_code

    with ThreadPoolExecutor(4) as pool:
        failed = sum(code >= 500 for code in pool.map(status, range(60)))
    assert 10 < failed < 50
    rollout = parse_id("rollout_", pair.rollout)
    until(lambda: rollout_look(tenant_id=pair.person.tenant.id, rollout_id=rollout) == "errors")


def test_what_cannot_be_compared_is_dropped(pair: Pair) -> None:
    pair.begin()
    candidate, dropped = pair.candidate.version_id.hex, iter(range(1, 10))
    large = json.dumps({"model": ALIAS, "messages": says("a word"), "max_tokens": 3}).encode() + b" " * (256 << 10)
    assert pair.writing.post(CHAT, large, pair.person.key).status_code == 200
    pair.dropped(next(dropped))
    pair.say(Plan(["x" * 1000] * 40), Plan(["short"]))
    pair.ask()
    pair.dropped(next(dropped))
    pair.say(Plan(), Plan(["short"]))
    pair.key = key_with(pair.person, tokens_per_minute=prompt_of("a word") + 70)
    assert pair.ask(max_tokens=400).json()["choices"][0]["finish_reason"] == "budget"
    pair.key = ""
    pair.dropped(next(dropped))
    assert not pair.asked(pair.candidate), "it was not asked what nothing could be compared with"
    pair.say(Plan(["short"]), Plan(["short"]))
    pair.writing.engine.contexts[candidate] = prompt_of("a word")
    pair.ask()
    pair.dropped(next(dropped))
    del pair.writing.engine.contexts[candidate]
    assert not pair.asked(pair.candidate)
    pair.say(Plan(["short"]), Plan(fail_after=0, error=("overloaded", "The engine is busy.")))
    pair.ask()
    pair.dropped(next(dropped))
    until(lambda: not pair.logged("pk", arm="shadow"))


def test_token_numbers_are_not_put_to_another_vocabulary(pair: Pair) -> None:
    with tenant_scope(pair.person.tenant.id):
        Model.objects.filter(pk=pair.candidate.model_id).update(base="another-base")
    pair.begin()
    pair.say(Plan(["a"]), Plan(["a"]))
    pair.ask()
    pair.compared()
    pair.ask(logit_bias={"50": 1})
    until(lambda: pair.shadow["dropped"] == 1)
    assert len(pair.asked(pair.candidate)) == 1


def test_nothing_is_asked_for_who_left_or_was_failed(pair: Pair) -> None:
    pair.begin()
    stable = Plan(["a", " b"], hold_after=1)
    pair.say(stable, Plan(["a"]))
    headers = {"authorization": f"Bearer {pair.person.key}"}
    body = {"model": ALIAS, "messages": says("a word"), "stream": True}
    with httpx2.Client(timeout=30) as client:
        with client.stream("POST", pair.writing.url + CHAT, json=body, headers=headers) as raw:
            next(raw.iter_lines())
    until(lambda: pair.asked(pair.stable)[0].cancelled)
    pair.say(Plan(["a", " b"], fail_after=1), Plan(["a"]))
    assert "error" in pair.ask(stream=True).text
    until(lambda: len(pair.logged("pk", arm="stable", model=ALIAS)) >= 2)
    assert not pair.asked(pair.candidate)
    assert (pair.shadow["compared"], pair.shadow["dropped"]) == (0, 0)


def test_a_flood_has_two_shadows_at_a_time_and_makes_nobody_wait(pair: Pair) -> None:
    pair.begin()
    held = Plan(["late"], hold_after=0)
    pair.say(Plan(["quick"]), held)
    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: pair.ask(), range(24)))
        until(lambda: pair.shadow["dropped"] == 22)
        assert [one.message.weight for one in pair.asked(pair.candidate)] == [0, 0]
        other = made(pair.writing, "eve")
        other.begin()
        other.say(Plan(["mine"]), Plan(["mine"]))
        other.ask()
        assert other.compared()["agreed"] == 1, "another organisation's shadow has a place of its own"
    finally:
        held.go.set()
    until(lambda: pair.shadow["compared"] == 2)
    assert {one.model for one in pair.writing.events(pair.person)} == {pair.name}


def test_shadows_end_with_their_process(django_db_setup: None) -> None:
    with wired() as writing:
        pair = made(writing)
        pair.begin()
        pair.say(Plan(["quick"]), Plan(["late"], hold_after=0))
        pair.ask()
        until(lambda: pair.asked(pair.candidate))
        began = time.perf_counter()
    assert time.perf_counter() - began < 20
    assert [one.cancelled for one in pair.asked(pair.candidate)] == [True]
