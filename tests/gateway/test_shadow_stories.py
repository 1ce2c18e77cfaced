"""Shadows of models that write, the whole way: the gateway, a real engine, a tiny Llama and adapters of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from inference.client import BlockingClient
from inference.wire import WriterReport
from kit.ids import new_id
from registry.bases import Base
from registry.services import artefact_store, model_publish
from serving.models import Deployment, RequestRecord
from tenants.models import Project
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.gateway.conftest import ROOT
from tests.gateway.real_engine import until_ready
from tests.gateway.writing_engine import CHAT, Door, door, on_plan, says, until
from tests.inference.generation.made import adapter, artefact, merged
from tests.serving.rolling import live
from tests.training.lab.causal_bases import CHATML, tiny_llama

pytestmark = pytest.mark.slow  # starts a real engine with torch and transformers

NAME, CONTEXT, ALIAS = "tiny-shadowed", 256, "stories@prod"


@dataclass
class Engine:
    """The gateway before a real engine, with folders of two adapters."""

    door: Door
    address: str
    folders: dict[str, Path]

    def report(self) -> WriterReport:
        """How the base is doing."""
        with BlockingClient(self.address, settings.ENGINE_TOKEN) as client:
            (found,) = client.health().writers
        return found

    def publish(self, person: Person, kind: str, alias: str = "") -> tuple[Deployment, str]:
        """One of the adapters as a live model of a person's; and its name."""
        stored = artefact_store(tenant_id=person.tenant.id, folder=self.folders[kind])
        base = Base(NAME, self.folders["base"], CONTEXT, {"model.safetensors": "0" * 64}, tasks=("text-generation",))
        with tenant_scope(person.tenant.id):
            version = model_publish(
                project=Project.objects.get(pk=person.project.id), base=base, task="text-generation", suffix="s",
                name=f"ft:{NAME}:{person.tenant.slug}:s:{new_id().hex[-8:]}", stored=stored, report={},
                job_id=new_id(),
            )  # fmt: skip
        row = live(person, alias, version)
        with tenant_scope(person.tenant.id):
            Deployment.objects.filter(pk=row.pk).update(max_length=CONTEXT)
        return row, version.model.name


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, django_db_setup: None) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("shadowed")
    folders = {"base": tiny_llama(folder / "base", template=CHATML), "one": folder / "one", "two": folder / "two"}
    reference = merged(folders["base"], None)
    for seed, kind in enumerate(("one", "two")):
        artefact(folders[kind], adapter(reference, rank=4, seed=seed), base=NAME, max_length=CONTEXT)
    catalogue = folder / "bases.json"
    catalogue.write_text(json.dumps({"bases": {NAME: {"folder": str(folders["base"]), "max_length": CONTEXT}}}))
    address = f"unix://{folder}/engine.sock"
    command = [sys.executable, "-m", "inference", "--listen", address, "--catalogue", str(catalogue)]
    command += ["--precision", "fp32", "--threads", "1", "--cache-mib", "4", "--writing-rows", "1"]
    environment = os.environ | {"TUNESMITH_ENGINE_TOKEN": settings.ENGINE_TOKEN, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT)

    try:
        until_ready(process, address, seconds=180)
        base = Base(NAME, folders["base"], CONTEXT, {"model.safetensors": "0" * 64}, tasks=("text-generation",))
        with door(address, base) as made:
            yield Engine(made, address, folders)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def write(engine: Engine, person: Person, model: str, **more: Any) -> dict[str, Any]:
    """One answer's message, finish reason and usage."""
    body = {"model": model, "messages": says("Lily saw a cat."), "max_tokens": 24} | more
    answer = engine.door.post(CHAT, body, person.key)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def begun(engine: Engine, person: Person, candidate: Deployment) -> str:
    """A shadow; the place of its rollout, once the gateway has heard of it."""
    body = {"alias": ALIAS, "candidate": candidate.public_id, "mode": "shadow"}
    made = person.api.post("/v1/rollouts", body)
    assert made.status_code == 200, made.content
    refused = {"model": ALIAS, "messages": says("a long story " * 300)}
    until(lambda: "x-rollout-arm" in engine.door.post(CHAT, refused, person.key).headers)
    return f"/v1/rollouts/{made.json()['id']}"


def shadow_of(person: Person, place: str, compared: int) -> dict[str, Any]:
    """What was compared, once it is so much."""
    until(lambda: person.api.get(place).json()["shadow"]["compared"] >= compared, seconds=30)
    found: dict[str, Any] = person.api.get(place).json()["shadow"]
    assert (found["compared"], found["dropped"]) == (compared, 0)
    return found


def test_what_is_reported_is_what_both_versions_write(engine: Engine) -> None:
    ada = on_plan("ada")
    (_, stable), (row, candidate) = engine.publish(ada, "one", ALIAS), engine.publish(ada, "two")
    mine, theirs = (write(engine, ada, model, temperature=0) for model in (stable, candidate))
    texts = [one["choices"][0]["message"]["content"] for one in (mine, theirs)]
    assert texts[0] != texts[1]
    place = begun(engine, ada, row)
    answer = write(engine, ada, ALIAS, temperature=0)
    assert answer["choices"][0]["message"]["content"] == texts[0], "callers get the stable version's answer"
    shadow = shadow_of(ada, place, 1)
    here, there = (Counter(word for word in split(text)) for text in texts)
    total = here.total() + there.total()
    assert shadow["overlap"] == (pytest.approx(2 * (here & there).total() / total) if total else None)
    assert (shadow["agreed"], shadow["stable_tokens"]) == (0, mine["usage"]["completion_tokens"])
    assert shadow["candidate_tokens"] == theirs["usage"]["completion_tokens"]
    assert shadow["endings_agreed"] == (mine["choices"][0]["finish_reason"] == theirs["choices"][0]["finish_reason"])
    page = ada.browser.get(f"{ada.workspace}/rollouts/{place.rpartition('/')[2]}/").content.decode()
    for words in ("Same answers?", "Calls compared", "Words in common (F1)", "Ended for the same reason", "candidate"):
        assert words in page

    def logged() -> list[Any]:
        with tenant_scope(ada.tenant.id):
            return list(RequestRecord.objects.filter(arm="shadow").values_list("status", "cost_nano", "output_tokens"))

    until(logged)
    assert logged() == [(200, 0, theirs["usage"]["completion_tokens"])]
    assert {event.model for event in engine.door.events(ada)} == {stable, candidate}
    assert len(engine.door.events(ada)) == 3, "two calls of ours, one of the alias, and none of the shadow"


def split(text: str) -> list[str]:
    """Words, without what is none."""
    return "".join(one if one.isalnum() or one == "_" else " " for one in text.casefold()).split()


@pytest.mark.parametrize("stream", [False, True])
def test_drawn_texts_of_equal_versions_are_the_same_for_they_are_drawn_with_the_same_numbers(
    engine: Engine, stream: bool
) -> None:
    eve = on_plan("eve")
    _, (row, _) = engine.publish(eve, "one", ALIAS), engine.publish(eve, "one")
    place = begun(engine, eve, row)
    said = set()
    for count in range(1, 5):
        body = {"model": ALIAS, "messages": says("Lily saw a cat."), "max_tokens": 24, "stream": stream}
        answer = engine.door.post(CHAT, body | {"temperature": 1.0, "top_p": 0.95}, eve.key)
        said.add(answer.text.partition('"content"')[2])
        shadow_of(eve, place, count)
    assert len(said) == 4, "each call draws anew"
    shadow = shadow_of(eve, place, 4)
    assert shadow["agreed"] == shadow["endings_agreed"] == 4
    assert shadow["stable_tokens"] == shadow["candidate_tokens"]


def test_a_shadow_gives_its_place_in_the_engine_to_anybody_else(engine: Engine) -> None:
    """The engine has one row. Whose shadow writes in it loses it to a stranger's call, and goes on afterwards."""
    mallory, bob = on_plan("mallory"), on_plan("bob")
    (_, stable), (row, _) = engine.publish(mallory, "one", ALIAS), engine.publish(mallory, "two")
    _, name = engine.publish(bob, "one")
    place, before = begun(engine, mallory, row), engine.report().preempted
    endless = {"temperature": 0, "max_tokens": 150, "logit_bias": {"1": -100, "3": -100}}
    calls = 0

    def taken() -> bool:
        nonlocal calls
        calls += 1
        write(engine, mallory, ALIAS, **endless)
        until(lambda: engine.report().running)
        write(engine, bob, name, temperature=0, max_tokens=4)
        return engine.report().preempted > before

    until(taken, seconds=60)
    shadow = shadow_of(mallory, place, calls)
    assert shadow["candidate_tokens"] == 150, "what gave its place was written to its end afterwards"
    assert {event.model for event in engine.door.events(mallory)} == {stable}
