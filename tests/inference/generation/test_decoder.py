"""A mixed batch over our cache writes what the library writes for each text alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.adapters import Adapter, lanes_of
from inference.generation.paging import Blocks
from inference.generation.steps import Part, Request, Sequence, Step
from inference.generation.turns import Limits, Turns
from tests.inference.generation.made import adapter, greedy, merged
from tests.late import late
from tests.training.lab.causal_bases import tiny_llama

pytestmark = pytest.mark.slow  # torch and transformers
torch = late("torch")
attention, decoding = late("inference.generation.attention"), late("inference.generation.decoder")
lanes = late("inference.generation.lanes")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module", params=[False, True], ids=["plain weights", "laid out weights"])
def decoder(base: Path, request: pytest.FixtureRequest) -> Any:
    """One that found that laying weights out pays, or does not."""
    attention.register()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "pays", lambda weights: request.param)
        return decoding.Decoder(
            base, device=torch.device("cpu"), dtype=torch.float32, cache_bytes=1 << 20, positions=256, lanes=128
        )


def written(decoder: Any, wanted: list[tuple[Adapter | None, list[int]]], count: int, **limits: Any) -> list[list[int]]:
    """Greedy texts of all of these together."""
    turns = Turns(Blocks(decoder.blocks), Limits(**limits))
    sequences = []
    for number, (adapted, prompt) in enumerate(wanted):
        lanes = lanes_of(adapted.rank) if adapted else 0
        request = Request(str(number), str(number), adapted, 10_000, lanes=lanes)
        request.sequences = [Sequence(request, 0, list(prompt), len(prompt), count)]
        sequences += request.sequences
        turns.submit(request)
    while (step := turns.next_step()) is not None:
        adapters: list[Any] = [part.sequence.request.adapter for part in step.parts]
        step = decoder.arrange(step, adapters)
        adapters = [part.sequence.request.adapter for part in step.parts]
        logits = decoder.step(step, adapters)
        turns.computed(step)
        for part, token in zip(_ending(step), [] if logits is None else logits.argmax(-1).tolist(), strict=True):
            turns.write(part.sequence, token)
            if part.sequence.written == count:
                turns.end(part.sequence, "length")
    return [sequence.tokens[sequence.prompt :] for sequence in sequences]


def _ending(step: Step) -> list[Any]:
    return [part for part in step.parts if part.ends]


def prompt(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(4, 200, length).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "limits",
    [{}, {"step_tokens": 16}, {"rows": 2}],
    ids=["whole prompts", "prompts in parts", "two at a time"],
)
def test_prompts_of_all_lengths_continue_as_the_library_continues_each(
    base: Path, decoder: Any, limits: dict[str, int]
) -> None:
    prompts = [prompt(length, length) for length in (1, 2, 15, 16, 17, 40, 90, 130)]
    found = written(decoder, [(None, one) for one in prompts], 12, **limits)
    reference = merged(base, None)
    assert found == [greedy(reference, one, 12) for one in prompts]


@pytest.mark.parametrize(
    "ranks", [[8, 8, 8, 8, 8, 8, 8, 8], [8, 16, 32, 8, 3, 16], [40, 8, 8], [8, None, 8, None, 16, 8]]
)
def test_adapters_of_all_ranks_write_together_as_each_writes_alone(
    base: Path, decoder: Any, ranks: list[int | None]
) -> None:
    reference = merged(base, None)
    adapters = [adapter(reference, rank=r, seed=i) if r else None for i, r in enumerate(ranks)]
    wanted = [(one, prompt(10 + 3 * place, place)) for place, one in enumerate(adapters)]
    found = written(decoder, wanted, 10)
    assert found == [greedy(merged(base, one), text, 10) for one, text in wanted]


def test_adapters_come_and_go_while_others_write(base: Path, decoder: Any) -> None:
    """More of them than lanes, two at a time: lanes are given up, taken again and moved together."""
    reference = merged(base, None)
    adapters = [adapter(reference, rank=rank, seed=40 + i) for i, rank in enumerate((8, 64, 16, 33, 32, 8, 64, 16))]
    wanted = [(one, prompt(8, place)) for place, one in enumerate([*adapters, *adapters[:3]])]
    found = written(decoder, wanted, 6, rows=2, lanes=128)
    assert found == [greedy(merged(base, one), text, 6) for one, text in wanted]


@pytest.mark.parametrize("rank", [9, 17, 33])
def test_odd_ranks_fill_their_lanes_and_no_more(base: Path, decoder: Any, rank: int) -> None:
    """A rank takes more lanes than it has rows; what runs together is counted by lanes."""
    reference = merged(base, None)
    adapters = [adapter(reference, rank=rank, seed=70 + i) for i in range(9)]
    wanted = [(one, prompt(6, place)) for place, one in enumerate(adapters)]
    found = written(decoder, wanted, 4, lanes=128)
    assert found == [greedy(merged(base, one), text, 4) for one, text in wanted]


def test_an_adapter_may_change_some_layers_only(base: Path, decoder: Any) -> None:
    one = adapter(merged(base, None), rank=8, seed=9, only="q_proj")
    text = prompt(20, 1)
    assert written(decoder, [(one, text), (None, text)], 8) == [
        greedy(merged(base, one), text, 8),
        greedy(merged(base, None), text, 8),
    ]


def test_scores_are_the_librarys(base: Path, decoder: Any) -> None:
    one = adapter(merged(base, None), rank=8, seed=5)
    tokens = prompt(30, 2)
    with torch.inference_mode():
        logits = merged(base, one)(torch.tensor([tokens])).logits[0]
    wanted = torch.log_softmax(logits[9:-1], dim=-1)
    assert torch.allclose(decoder.score(tokens, 10, one), wanted, atol=1e-3)


@pytest.mark.parametrize("ranks", [[8] * 12, [8, None, 40, 16]], ids=["in groups", "all together"])
def test_in_bf16_a_mixed_step_says_what_each_says_alone(base: Path, ranks: list[int | None]) -> None:
    attention.register()
    decoder = decoding.Decoder(
        base, device=torch.device("cpu"), dtype=torch.bfloat16, cache_bytes=1 << 20, positions=256, lanes=128
    )
    reference = merged(base, None)
    adapters = [adapter(reference, rank=rank, seed=i) if rank else None for i, rank in enumerate(ranks)]
    parts = []
    for place in range(len(adapters)):
        sequence = Sequence(Request(str(place), "", None, 9), 0, prompt(12, place), 12, 9)
        parts.append(Part(sequence, 0, 12, [place]))
    together = decoder.step(Step(False, parts), adapters)
    for part, one, found in zip(parts, adapters, together, strict=True):
        with torch.inference_mode():
            wanted = merged(base, one)(torch.tensor([part.sequence.tokens])).logits[0, -1]
        assert torch.allclose(found, decoder.step(Step(False, [part]), [one])[0], atol=0.1)
        assert torch.allclose(found, wanted, atol=0.3)
    assert len({tuple(found.tolist()) for found in together}) == len(adapters)
