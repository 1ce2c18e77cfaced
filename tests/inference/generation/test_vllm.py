"""A real vLLM server behind a real engine process, beside our own decoder on the same base."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference import wire
from inference.client import EngineClient
from inference.errors import BadRequest, NoRoom
from tests.inference.conftest import EngineProcess, running
from tests.inference.generation.made import adapter, artefact, merged
from tests.inference.generation.test_engine import Written, talk
from tests.inference.generation.wide import widened
from tests.late import late
from tests.training.lab.causal_bases import real_llama

pytestmark = pytest.mark.slow  # starts a vLLM server, which takes a minute
torch = late("torch")

OWN, FAR = "tiny", "tiny-at-vllm"
ENDLESS = {1: -100.0, 2: -100.0}  # the story never ends


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return widened(real_llama(), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def engine(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    program = os.environ.get("TUNESMITH_VLLM") or shutil.which("vllm")
    if not program:
        pytest.skip("there is no vLLM here (set TUNESMITH_VLLM to its program, in an environment of its own)")
    home = tmp_path_factory.mktemp("catalogue")
    bases: dict[str, Any] = {OWN: {"folder": str(base), "max_length": 256}}
    options = {"arguments": ["--enforce-eager"], "adapters": 4, "together": 4}
    bases[FAR] = bases[OWN] | {"backend": "vllm", "vllm": options}
    (home / "bases.json").write_text(json.dumps({"bases": bases}))
    more = ("--depot", str(home / "depot"), "--vllm", program, "--cache-mib", "4", "--writing-rows", "8")
    with running("--precision", "fp32", "--catalogue", str(home / "bases.json"), *more) as started:
        talk(started, _until_ready)
        yield started


async def _until_ready(client: EngineClient) -> None:
    deadline = time.monotonic() + 300
    while not (await _report(client)).ready:
        assert time.monotonic() < deadline, "vLLM was not ready within five minutes"
        await asyncio.sleep(0.5)


async def _report(client: EngineClient) -> wire.WriterReport:
    return next(one for one in (await client.health()).writers if one.base == FAR)


async def write(client: EngineClient, prompt: list[int] | str, *, base: str = FAR, model: str = "", tenant: str = "t",
                allowed: int = 10_000, choices: int = 1, stream: bool = True, **sampling: Any) -> Written:  # fmt: skip
    if isinstance(prompt, str):
        (prompt,) = (await client.render(tenant="t", base=FAR, prompts=[prompt])).prompts
    wanted = wire.Sampling(**({"max_tokens": 12, "temperature": 0.0} | sampling))
    generation = await client.generate(
        tenant=tenant, model=model, base="" if model else base, prompt=prompt, sampling=wanted, allowed=allowed,
        choices=choices, stream=stream,
    )  # fmt: skip
    return Written([piece async for piece in generation], generation.result)


def reports(written: Written) -> list[wire.TokenReport]:
    return [report for piece in written.pieces for report in piece.logprobs or []]


def test_a_story_is_the_one_that_our_own_decoder_writes(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> list[Written]:
        asked = {"max_tokens": 24, "logprobs": 2}
        return [
            await write(client, "Once upon a time", base=OWN, **asked),
            await write(client, "Once upon a time", **asked),
            await write(client, "Once upon a time", stream=False, **asked),
        ]

    own, far, whole = talk(engine, work)
    assert own.texts == far.texts == whole.texts and "little girl" in far.texts[0]
    assert own.finish == far.finish == {0: "length"} and len(whole.pieces) == 1 < len(far.pieces)
    assert far.result.output_tokens == 24 == sum(piece.tokens for piece in far.pieces)
    assert far.result.prompt_tokens == own.result.prompt_tokens and far.result.compute_us > 0
    for mine, theirs in zip(reports(own), reports(far), strict=True):
        assert [one.raw for one in mine.top] == [one.raw for one in theirs.top]
        assert mine.chosen.raw == theirs.chosen.raw and abs(mine.chosen.logprob - theirs.chosen.logprob) < 0.01


def test_what_may_wait_is_written_as_well_and_a_seed_is_told_where_one_was_named(engine: EngineProcess) -> None:
    async def waits(client: EngineClient, seed: int | None) -> Written:
        (prompt,) = (await client.render(tenant="t", base=FAR, prompts=["Once upon a time"])).prompts
        generation = await client.generate(
            tenant="t", base=FAR, prompt=prompt, sampling=wire.Sampling(12, seed=seed), allowed=12, weight=0
        )
        return Written([piece async for piece in generation], generation.result)

    async def work(client: EngineClient) -> list[Written]:
        return [await waits(client, 5), await waits(client, 5), await waits(client, None)]

    first, again, unnamed = talk(engine, work)
    assert first.texts == again.texts and first.result is not None and unnamed.result is not None
    assert (first.result.seed, unnamed.result.seed) == (5, None)


def test_tenants_adapters_write_what_they_write_at_our_own_decoder(
    engine: EngineProcess, base: Path, tmp_path: Path
) -> None:
    reference = merged(base, None)
    kinds = [(8, ""), (16, "q_proj"), (32, ""), (8, "mlp"), (8, "layers.1.")]
    made = [adapter(reference, rank=rank, seed=seed, only=only) for seed, (rank, only) in enumerate(kinds)]

    async def one(client: EngineClient, number: int, home: str) -> Written:
        folder, name = tmp_path / f"{home}-{number}", f"{home}-{number}"
        sha = artefact(folder, made[number], base=home)
        tenant = f"tenant-{number}"
        await client.load(tenant=tenant, model=name, folder=str(folder), sha256=sha)
        return await write(client, "Once upon a time", model=name, tenant=tenant, max_tokens=8)

    async def work(client: EngineClient) -> tuple[list[Written], list[Written], Written]:
        own = [await one(client, number, OWN) for number in range(len(made))]
        far = await asyncio.gather(*(one(client, number, FAR) for number in range(len(made))))
        return own, list(far), await write(client, "Once upon a time", max_tokens=8)

    own, far, plain = talk(engine, work)
    assert [one.texts for one in own] == [one.texts for one in far], "more of them than the server keeps at a time"
    assert len({one.texts[0] for one in (*far, plain)}) > 3


def test_no_more_is_written_than_was_allowed_until_more_is_and_the_text_goes_on_as_if_never_cut(
    engine: EngineProcess,
) -> None:
    async def work(client: EngineClient) -> tuple[Written, list[int], Written, int]:
        (prompt,) = (await client.render(tenant="t", base=FAR, prompts=["Once upon a time"])).prompts
        whole = await write(client, prompt, max_tokens=40, bias=ENDLESS)
        generation = await client.generate(
            tenant="t", base=FAR, prompt=prompt, sampling=wire.Sampling(40, temperature=0.0, bias=ENDLESS),
            allowed=6, stream=True,
        )  # fmt: skip
        steps, before, pieces = [13, 14, 30], [], []
        async for piece in generation:
            pieces.append(piece)
            if sum(one.tokens for one in pieces) in (6, 13, 14):
                await asyncio.sleep(0.3)
                before.append((await _report(client)).running)
                step = steps.pop(0)
                generation.allow(step, last=not steps)
        cut = Written(pieces, generation.result)
        return whole, before, cut, generation.result.output_tokens if generation.result else 0

    whole, before, cut, count = talk(engine, work)
    assert before == [0, 0, 0], "nothing runs while nothing is allowed"
    assert count == 30 == sum(piece.tokens for piece in cut.pieces) and cut.finish == {0: "budget"}
    assert whole.texts[0].startswith(cut.texts[0])


def test_choices_share_what_is_allowed(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> Written:
        generation = await client.generate(
            tenant="t", base=FAR, prompt=[1, 403], sampling=wire.Sampling(20, bias=ENDLESS, seed=3),
            allowed=16, choices=3, stream=True,
        )  # fmt: skip
        pieces = []
        async for piece in generation:
            pieces.append(piece)
            if sum(one.tokens for one in pieces) == 16:
                generation.allow(25, last=True)
        return Written(pieces, generation.result)

    written = talk(engine, work)
    assert written.result.output_tokens == 25 and set(written.finish) == {0, 1, 2}
    assert set(written.finish.values()) <= {"budget", "length"} and len(set(written.texts.values())) > 1


def test_a_seed_means_the_same_again_however_it_is_allowed(engine: EngineProcess) -> None:
    async def one(client: EngineClient, seed: int, allowed: int) -> str:
        (prompt,) = (await client.render(tenant="t", base=FAR, prompts=["Once upon a time"])).prompts
        generation = await client.generate(
            tenant="t", base=FAR, prompt=prompt, stream=True, allowed=allowed,
            sampling=wire.Sampling(70, temperature=1.0, top_p=0.95, seed=seed, bias=ENDLESS),
        )  # fmt: skip
        text, told = "", 0
        async for piece in generation:
            text, told = text + piece.text, told + piece.tokens
            if told == allowed:
                generation.allow(70, last=True)
        return text

    async def work(client: EngineClient) -> list[str]:
        return [await one(client, 5, 70), *await asyncio.gather(one(client, 5, 32), one(client, 6, 70))]

    alone, cut, other = talk(engine, work)
    assert alone == cut != other


def test_penalties_go_on_over_the_cuts(engine: EngineProcess) -> None:
    penalties = {"frequency_penalty": 0.7, "presence_penalty": 0.9, "bias": ENDLESS | {432: 1.5}}

    async def work(client: EngineClient) -> list[Written]:
        (prompt,) = (await client.render(tenant="t", base=FAR, prompts=["Once upon a time"])).prompts
        own = await write(client, prompt, base=OWN, max_tokens=24, **penalties)
        generation = await client.generate(
            tenant="t", base=FAR, prompt=prompt, allowed=7, stream=True,
            sampling=wire.Sampling(24, temperature=0.0, **penalties),
        )  # fmt: skip
        pieces = []
        async for piece in generation:
            pieces.append(piece)
            if sum(one.tokens for one in pieces) == 7:
                generation.allow(24)
        return [own, Written(pieces, generation.result)]

    own, far = talk(engine, work)
    assert own.texts == far.texts


@pytest.mark.parametrize("allowed", [200, 5])
def test_a_grammar_is_kept_over_the_cuts(engine: EngineProcess, allowed: int) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [11, 22]}, "of": {"enum": ["a cat", "a dog"]}},
              "required": ["n", "of"], "additionalProperties": False}  # fmt: skip

    async def one(client: EngineClient, grammar: wire.Grammar) -> Written:
        generation = await client.generate(
            tenant="t", base=FAR, prompt=[1, 403], allowed=allowed, stream=True,
            sampling=wire.Sampling(60, seed=1, grammar=grammar),
        )  # fmt: skip
        pieces = []
        async for piece in generation:
            pieces.append(piece)
            if sum(one.tokens for one in pieces) == allowed:
                generation.allow(60, last=True)
        return Written(pieces, generation.result)

    async def work(client: EngineClient) -> list[Written]:
        return list(
            await asyncio.gather(
                one(client, wire.Grammar("json_schema", json.dumps(schema))),
                one(client, wire.Grammar("regex", "(yes|no), [0-9]{4}")),
            )
        )

    found, line = talk(engine, work)
    told = json.loads(found.texts[0])
    assert told["n"] in (11, 22) and told["of"] in ("a cat", "a dog") and found.finish == {0: "stop"}
    word, _, number = line.texts[0].partition(", ")
    assert word in ("yes", "no") and len(number) == 4 and line.finish == {0: "stop"}


def test_a_stop_ends_a_text_where_it_ends_it_at_our_own_decoder(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> list[Written]:
        asked = {"max_tokens": 40, "stop": ["named Li", "zebra"]}
        return [await write(client, "Once upon a time", base=base, **asked) for base in (OWN, FAR)]

    own, far = talk(engine, work)
    assert own.texts == far.texts and far.finish == {0: "stop"} and far.texts[0].endswith("girl ")
    assert own.result.output_tokens == far.result.output_tokens


def test_a_beginning_is_found_in_the_cache_by_its_own_tenant_alone(engine: EngineProcess) -> None:
    prompt = [1, *(260 + place % 200 for place in range(199))]

    async def work(client: EngineClient) -> list[int]:
        told = [await write(client, prompt, tenant=tenant, max_tokens=2) for tenant in ("owner", "owner", "stranger")]
        return [one.result.cached_tokens for one in told]

    first, again, stranger = talk(engine, work)
    assert (first, stranger) == (0, 0) and again >= 128


def test_a_caller_that_leaves_stops_the_server_within_a_second(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> tuple[int, int, float]:
        before = (await _report(client)).cancelled
        generation = await client.generate(
            tenant="t", base=FAR, prompt=[1], sampling=wire.Sampling(250, bias=ENDLESS), allowed=250, stream=True
        )
        async for _ in generation:
            break
        generation.close()
        started = time.perf_counter()
        while (report := await _report(client)).running:
            await asyncio.sleep(0.02)
        return report.cancelled - before, report.waiting, time.perf_counter() - started

    cancelled, waiting, seconds = talk(engine, work)
    assert (cancelled, waiting) == (1, 0) and seconds < 1


def test_a_flood_of_one_tenant_leaves_anothers_text_its_turn(engine: EngineProcess) -> None:
    async def work(client: EngineClient) -> tuple[int, int]:
        flood = [
            asyncio.create_task(write(client, [1, 403, token], tenant="flood", max_tokens=60, bias=ENDLESS))
            for token in range(300, 340)
        ]
        while not (await _report(client)).waiting:
            await asyncio.sleep(0.01)
        await write(client, [1, 403], tenant="small", max_tokens=4)
        before = sum(task.done() for task in flood)
        await asyncio.gather(*flood)
        return before, (await _report(client)).running

    before, running_now = talk(engine, work)
    assert before <= 16 and running_now == 0, "eight write at a time, and forty were asked for first"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"prompt": []}, "empty"),
        ({"prompt": [10**6]}, "token numbers"),
        ({"prompt": [5] * 250}, "more than the 256"),
        ({"prompt": [5], "choices": 0}, "choices"),
        ({"prompt": [5], "bias": {10**6: 1.0}}, "bias"),
        ({"prompt": [5], "grammar": wire.Grammar("regex", "((")}, "regular expression"),
        ({"prompt": [5], "grammar": wire.Grammar("json_schema", '{"$ref": "#"}')}, "Nothing can be written"),
    ],
)
def test_what_cannot_be_written_is_refused_in_the_same_words(
    engine: EngineProcess, message: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadRequest, match=says):
        talk(engine, lambda client: write(client, **message))


def test_serving_is_compared_with_what_training_recorded(engine: EngineProcess, base: Path, tmp_path: Path) -> None:
    one = adapter(merged(base, None), rank=8, seed=2)
    tokens = [1, 403, 407, 261, 378, 432]
    with torch.inference_mode():
        logits = merged(base, one)(torch.tensor([tokens])).logits[0]
    chances = torch.log_softmax(logits[2:-1], dim=-1).gather(1, torch.tensor(tokens[3:])[:, None])[:, 0].tolist()
    told = {"good": chances, "bad": [value - 1 for value in chances]}

    async def work(client: EngineClient) -> list[bool]:
        found = []
        for name, logprobs in told.items():
            parity = {"sequences": [{"tokens": tokens, "start": 3, "logprobs": logprobs}]}
            sha = artefact(tmp_path / name, one, base=FAR, parity=parity)
            await client.load(tenant="t", model=name, folder=str(tmp_path / name), sha256=sha)
            found.append((await client.parity(tenant="t", model=name)).passed)
        return found

    assert talk(engine, work) == [True, False]


def test_an_adapter_over_the_servers_rank_is_refused(engine: EngineProcess, base: Path, tmp_path: Path) -> None:
    one = adapter(merged(base, None), rank=64, seed=1)
    sha = artefact(tmp_path / "m", one, base=FAR)
    with pytest.raises(NoRoom, match="rank 64"):
        talk(engine, lambda client: client.load(tenant="t", model="m", folder=str(tmp_path / "m"), sha256=sha))
