"""A real engine process that writes, asked over its socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import wire
from inference.client import EngineClient
from inference.errors import BadArtefact, BadRequest, NotResident
from tests.inference.conftest import TOKEN, EngineProcess, running
from tests.inference.generation.made import adapter, artefact, greedy, merged
from tests.late import late
from tests.training.lab.causal_bases import CHATML, tiny_llama

pytestmark = pytest.mark.slow  # starts a real process with torch and transformers
torch = late("torch")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), template=CHATML)


@pytest.fixture(scope="module")
def engine(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    catalogue = tmp_path_factory.mktemp("catalogue") / "bases.json"
    catalogue.write_text(json.dumps({"bases": {"tiny": {"folder": str(base), "max_length": 256}}}))
    with running("--precision", "fp32", "--catalogue", str(catalogue), "--cache-mib", "4") as started:
        yield started


class Written:
    """All pieces of one request."""

    def __init__(self, pieces: list[wire.Piece], result: wire.Generated | None) -> None:
        self.pieces, self.result = pieces, result
        self.texts: dict[int, str] = {}
        self.finish: dict[int, str] = {}
        for piece in pieces:
            self.texts[piece.choice] = self.texts.get(piece.choice, "") + piece.text
            if piece.finish:
                self.finish[piece.choice] = piece.finish


def talk(engine: EngineProcess, work: Any) -> Any:
    """Run `work(client)` in an event loop."""

    async def run() -> Any:
        client = EngineClient(engine.address, TOKEN)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def write(client: EngineClient, prompt: list[int], *, model: str = "", tenant: str = "t", allowed: int = 10_000,
                choices: int = 1, stream: bool = True, **sampling: Any) -> Written:  # fmt: skip
    wanted = wire.Sampling(**({"max_tokens": 12, "temperature": 0.0} | sampling))
    generation = await client.generate(
        tenant=tenant, model=model, base="" if model else "tiny", prompt=prompt, sampling=wanted, allowed=allowed,
        choices=choices, stream=stream,
    )  # fmt: skip
    return Written([piece async for piece in generation], generation.result)


def test_the_seed_of_an_unseeded_text_has_it_written_again(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> tuple[Written, Written, Written]:
        (prompt,) = (await client.render(tenant="t", base="tiny", prompts=["Lily saw a"])).prompts
        drawn = {"temperature": 1.0, "max_tokens": 24}
        first = await write(client, prompt, **drawn)
        assert first.result is not None
        again = await write(client, prompt, **drawn, seed=first.result.seed)
        return first, again, await write(client, prompt, **drawn)

    first, again, other = talk(engine, work)
    assert first.texts == again.texts != other.texts
    assert first.result.seed == again.result.seed != other.result.seed


def test_a_stream_and_a_whole_answer_are_the_same_text_and_that_of_the_library(
    engine: EngineProcess, base: Path
) -> None:
    async def work(client: EngineClient) -> tuple[Written, Written]:
        (prompt,) = (await client.render(tenant="t", base="tiny", prompts=["Lily saw a"])).prompts
        return await write(client, prompt), await write(client, prompt, stream=False)

    streamed, whole = talk(engine, work)
    assert streamed.texts == whole.texts and len(whole.pieces) == 1 < len(streamed.pieces)
    assert streamed.result.output_tokens == sum(piece.tokens for piece in streamed.pieces)
    assert whole.finish[0] in ("length", "stop") and whole.result.prompt_tokens == len("Lily saw a") + 1


def test_a_chat_goes_through_the_bases_template(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> tuple[list[int], list[int]]:
        chat = {"messages": [{"role": "user", "content": "hi"}], "tools": None}
        rendered = await client.render(tenant="t", base="tiny", chat=chat)
        plain = await client.render(tenant="t", base="tiny", prompts=["<|im_start|>user\nhi"])
        return rendered.prompts[0], plain.prompts[0]

    chat, plain = talk(engine, work)
    assert chat[: len(plain) - 1] == plain[1:], "the template begins no text: its special tokens are in it"


def test_many_tenants_adapters_write_at_once_as_each_alone(engine: EngineProcess, base: Path, tmp_path: Path) -> None:
    reference = merged(base, None)
    adapters = {f"m{seed}": adapter(reference, rank=(8, 16)[seed % 2], seed=seed) for seed in range(5)}
    shas = {name: artefact(tmp_path / name, one, base="tiny") for name, one in adapters.items()}
    prompt = [10, 20, 30, 40, 50]

    async def work(client: EngineClient) -> list[Written]:
        for name, sha in shas.items():
            told = await client.load(tenant=name, model=name, folder=str(tmp_path / name), sha256=sha)
            assert (told.base, told.method, told.labels, told.max_length) == ("tiny", "lora", [], 128)
        asked: list[Coroutine[Any, Any, Written]] = [
            write(client, prompt, model=name, tenant=name, max_tokens=8, logprobs=0) for name in shas
        ]
        return list(await asyncio.gather(*asked, write(client, prompt, max_tokens=8, logprobs=0)))

    found = talk(engine, work)
    for one, written in zip([*adapters.values(), None], found, strict=True):
        wanted = greedy(merged(base, one), prompt, 8)
        tokens = [report.chosen.raw for piece in written.pieces for report in piece.logprobs or []]
        ended = wanted.index(3) if 3 in wanted else len(wanted)
        assert len(tokens) == ended, "one report for each token but the one that ends the text"


def test_a_seed_means_the_same_beside_others_and_choices_differ(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> list[Written]:
        async def one(seed: int) -> Written:
            return await write(client, [7, 8, 9], temperature=1.0, top_p=0.9, seed=seed, choices=3)

        alone = await one(5)
        return [alone, *await asyncio.gather(one(5), one(6), one(7))]

    alone, beside, other, _ = talk(engine, work)
    assert alone.texts == beside.texts != other.texts
    assert len(set(alone.texts.values())) > 1


def test_no_more_is_written_than_was_allowed_until_more_is(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> tuple[int, int, dict[int, str]]:
        generation = await client.generate(
            tenant="t", base="tiny", prompt=[5], sampling=wire.Sampling(100, temperature=0.0, bias={3: -100.0}),
            allowed=6, stream=True,
        )  # fmt: skip
        before = after = 0
        finish: dict[int, str] = {}
        async for piece in generation:
            after += piece.tokens
            if after >= 5 and not before:
                before = after
                generation.allow(11, last=True)
            if piece.finish:
                finish[piece.choice] = piece.finish
        assert generation.result is not None
        return before, generation.result.output_tokens, finish

    before, whole, finish = talk(engine, work)
    assert before <= 6 and whole == 11 and finish == {0: "budget"}


@pytest.mark.parametrize(
    ("grammar", "reads"),
    [
        (wire.Grammar("regex", "(yes|no), [0-9]{2}"), lambda text: text.split(", ")[0] in ("yes", "no")),
        (
            wire.Grammar("json_schema", '{"type":"object","properties":{"n":{"enum":[1,2]}},"required":["n"],'
                         '"additionalProperties":false}'),
            lambda text: json.loads(text)["n"] in (1, 2),
        ),
    ],
)  # fmt: skip
def test_an_untrained_base_keeps_to_a_grammar(engine: EngineProcess, grammar: wire.Grammar, reads: Any) -> None:
    async def work(client: EngineClient) -> Written:
        return await write(client, [5, 6], temperature=1.0, seed=1, max_tokens=60, grammar=grammar)

    written = talk(engine, work)
    assert written.finish == {0: "stop"} and reads(written.texts[0])


def test_a_repeated_prompt_is_found_in_the_cache_by_its_own_tenant_alone(engine: EngineProcess) -> None:
    prompt = [20 + place % 90 for place in range(70)]

    async def work(client: EngineClient) -> list[int]:
        cached = []
        for tenant in ("owner", "owner", "stranger"):
            written = await write(client, prompt, tenant=tenant, max_tokens=2)
            assert written.result is not None
            cached.append(written.result.cached_tokens)
        return cached

    first, again, stranger = talk(engine, work)
    assert (first, stranger) == (0, 0) and again == 64


def test_a_caller_that_leaves_stops_the_writing(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> tuple[int, int]:
        generation = await client.generate(
            tenant="t", base="tiny", prompt=[5], sampling=wire.Sampling(200, bias={3: -100.0}), allowed=200, stream=True
        )
        async for _ in generation:
            break
        generation.close()
        other = await write(client, [5, 6, 7], max_tokens=3)
        assert other.result is not None
        report = await client.health()
        return report.writers[0].running + report.writers[0].waiting, report.writers[0].cancelled

    running_now, cancelled = talk(engine, work)
    assert running_now == 0 and cancelled == 1


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"prompt": []}, "empty"),
        ({"prompt": [10**6]}, "token numbers"),
        ({"prompt": [-1]}, "token numbers"),
        ({"prompt": [5] * 250}, "more than the 256"),
        ({"prompt": [5], "choices": 0}, "choices"),
        ({"prompt": [5], "max_tokens": 0}, "At least one token"),
        ({"prompt": [5], "stop": ["x"] * 17}, "stops"),
        ({"prompt": [5], "bias": {10**6: 1.0}}, "bias"),
        ({"prompt": [5], "grammar": wire.Grammar("regex", "((")}, "regular expression"),
        ({"prompt": [5], "grammar": wire.Grammar("json_schema", "[1]")}, "JSON schema"),
        ({"prompt": [5], "grammar": wire.Grammar("json_schema", '{"$ref": "#"}')}, "Nothing can be written"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(engine: EngineProcess, message: dict[str, Any], says: str) -> None:
    async def work(client: EngineClient) -> tuple[wire.WriterReport, wire.WriterReport]:
        before = (await client.health()).writers[0]
        with pytest.raises(BadRequest, match=says):
            await write(client, **message)
        return before, (await client.health()).writers[0]

    before, after = talk(engine, work)
    assert (after.read_tokens, after.written_tokens) == (before.read_tokens, before.written_tokens), "nothing was run"
    assert after.running + after.waiting == 0


def test_an_expression_that_grows_only_as_it_is_written_is_refused_there(engine: EngineProcess) -> None:
    with pytest.raises(BadRequest, match="schema or expression"):
        talk(engine, lambda client: write(client, [5], grammar=wire.Grammar("regex", "(cdefg|hijkl)a{100000000}")))


def test_a_strangers_costly_grammars_hold_up_nobody_else(engine: EngineProcess) -> None:
    def costly(number: int) -> wire.Grammar:
        return wire.Grammar("json_schema", json.dumps({"enum": [f"{number}" + "x" * 60_000]}))

    async def work(client: EngineClient) -> None:
        many = [
            asyncio.create_task(write(client, [5], tenant="stranger", max_tokens=3, grammar=costly(number)))
            for number in range(40)
        ]
        await asyncio.sleep(0.2)
        for grammar in (None, wire.Grammar("regex", "(yes|no)")):
            begun = time.monotonic()
            await client.render(tenant="t", base="tiny", prompts=["cdefg"])
            await write(client, [5, 6], max_tokens=4, grammar=grammar)
            assert time.monotonic() - begun < 3.0
            assert sum(task.done() for task in many) < 20, "it did not wait for them"
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    talk(engine, work)


def test_readers_do_not_write_and_writers_do_not_read(engine: EngineProcess, base: Path, tmp_path: Path) -> None:
    one = adapter(merged(base, None), rank=8, seed=1)
    sha = artefact(tmp_path / "m", one, base="tiny")

    async def work(client: EngineClient) -> None:
        with pytest.raises(NotResident):
            await client.render(tenant="t", model="nobody's", prompts=["x"])
        with pytest.raises(BadRequest, match="writes none"):
            await client.render(tenant="t", base="all-MiniLM-L6-v2", prompts=["x"])
        await client.load(tenant="t", model="m", folder=str(tmp_path / "m"), sha256=sha)
        with pytest.raises(BadRequest, match="writes text"):
            await client.classify(tenant="t", model="m", texts=["x"])
        with pytest.raises(NotResident):
            await client.render(tenant="stranger", model="m", prompts=["x"])

    talk(engine, work)


def test_serving_is_compared_with_what_training_recorded(engine: EngineProcess, base: Path, tmp_path: Path) -> None:
    one = adapter(merged(base, None), rank=8, seed=2)
    tokens = [9, 20, 31, 42, 53, 64]
    with torch.inference_mode():
        logits = merged(base, one)(torch.tensor([tokens])).logits[0]
    chances = torch.log_softmax(logits[2:-1], dim=-1).gather(1, torch.tensor(tokens[3:])[:, None])[:, 0].tolist()
    good = {"sequences": [{"tokens": tokens, "start": 3, "logprobs": chances}]}
    bad = {"sequences": [{"tokens": tokens, "start": 3, "logprobs": [value - 1 for value in chances]}]}
    shas = {name: artefact(tmp_path / name, one, base="tiny", parity=said) for name, said in
            (("good", good), ("bad", bad))}  # fmt: skip

    async def work(client: EngineClient) -> list[bool]:
        found = []
        for name, sha in shas.items():
            await client.load(tenant="t", model=name, folder=str(tmp_path / name), sha256=sha)
            found.append((await client.parity(tenant="t", model=name)).passed)
        return found

    assert talk(engine, work) == [True, False]


@pytest.mark.parametrize(
    "changes",
    [{"base": "unknown"}, {"lora": {"rank": 8, "alpha": 8.0, "targets": ["model.layers.9.self_attn.q_proj"]}}],
)
def test_an_artefact_that_does_not_fit_is_refused(
    engine: EngineProcess, base: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    one = adapter(merged(base, None), rank=8, seed=1)
    sha = artefact(tmp_path / "m", one, base="tiny", **{k: v for k, v in changes.items() if k == "lora"}) \
        if "lora" in changes else artefact(tmp_path / "m", one, base="unknown")  # fmt: skip
    with pytest.raises(BadArtefact):
        talk(engine, lambda client: client.load(tenant="t", model="m", folder=str(tmp_path / "m"), sha256=sha))


COSTLY = {"$defs": {"n": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/n"}}] * 300}}, "$ref": "#/$defs/n"}
WIDE = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(3000)}}


@pytest.mark.parametrize("schema", [COSTLY, WIDE], ids=["recursive", "wide"])
def test_a_schema_that_is_too_large_ends_its_own_text_alone(engine: EngineProcess, schema: dict[str, Any]) -> None:
    grammar = wire.Grammar("json_schema", json.dumps(schema))

    async def work(client: EngineClient) -> tuple[Written, Any]:
        beside = asyncio.create_task(write(client, [5, 6, 7], max_tokens=60, bias={3: -100.0}))
        refused = (await asyncio.gather(write(client, [5], grammar=grammar), return_exceptions=True))[0]
        return await beside, refused

    beside, refused = talk(engine, work)
    assert beside.finish == {0: "length"}
    assert isinstance(refused, BadRequest) and len(refused.message) < 500
