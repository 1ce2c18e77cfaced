"""Entities, answers and cross-encoders: what the engine says of them is what plain transformers computes."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from inference.client import EngineClient
from inference.errors import BadArtefact, BadRequest, TooLarge
from inference.hot import WINDOW, WINDOWS
from inference.wire import MERGED, UNCUT
from tests.inference import reference
from tests.inference.artefacts import BASE, make, record
from tests.inference.conftest import TOKEN
from tests.inference.test_serving_path import load, vectors

pytestmark = pytest.mark.slow  # starts real processes

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ENDS = ["start", "end"]
TEXTS = [
    "Angela Merkel met Emmanuel Macron in Paris, near the Champs-Élysées, on Monday.",
    "ok",
    "東京で Mr. O'Neill’s unbelievably-long-hyphenated proposal was   accepted…\n\nYes.",
    "flights to New York and San Francisco " * 3,
]
PAIRS = [
    ("Where did they meet?", "Angela Merkel met Emmanuel Macron in Paris, near the Champs-Élysées, on Monday."),
    ("Who?", "Nobody knows."),
    ("When does the parcel arrive?", "It left on Tuesday 14 May and is due on Friday, unless it rains in Köln again."),
]
LONG = (
    "What is it called?",
    " ".join(f"The town of Place{i} lies by river {i} and has {i * 37} houses." for i in range(60)),
)
QUERY = "where is my refund"
DOCUMENTS = ["the weather is fine today", "I want my money back for this order", "a recipe for apple cake " * 30, "ok"]


def token_chances(made, text: str) -> np.ndarray:
    """[tokens, labels] of a text that fits, special tokens left out."""
    import torch

    batch = reference.tokenizer()(text, return_tensors="pt")
    with torch.no_grad():
        logits = reference.model_of(made, "BertForTokenClassification")(**batch).logits[0, 1:-1] / made.temperature
    return logits.softmax(-1).numpy()


def places(entities) -> list[tuple[str, int, int]]:
    return [(one.label, one.start, one.end) for one in entities]


def windows(made, pair, limit: int, overlap: int):
    """The model's own numbers of every window, as the tokenizer of transformers makes them: (offsets, numbers)."""
    import torch

    model = reference.model_of(made, "BertForQuestionAnswering")
    batch = reference.tokenizer()(
        *pair, max_length=limit, stride=overlap, truncation="only_second", return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )  # fmt: skip
    for index in range(len(batch["input_ids"])):
        given = {k: torch.tensor([batch[k][index]]) for k in ("input_ids", "attention_mask", "token_type_ids")}
        with torch.no_grad():
            out = model(**given)
        numbers = torch.stack([out.start_logits[0], out.end_logits[0]], -1).numpy() / made.temperature
        own = [i for i, sequence in enumerate(batch.sequence_ids(index)) if sequence == 1]
        yield [batch["offset_mapping"][index][i] for i in own], numbers[[0, *own]]


def best_spans(made, pair, limit: int, overlap: int, candidates: int = 20, longest: int = 30):
    """By trying every span: [(start, end, share)], and the share of no answer."""
    found, nothing = {}, []
    for offsets, numbers in windows(made, pair, limit, overlap):
        nothing.append(numbers[0].sum())
        own = {}
        for i in range(len(offsets)):
            for j in range(i, min(i + longest, len(offsets))):
                own[offsets[i][0], offsets[j][1]] = numbers[1 + i, 0] + numbers[1 + j, 1]
        for span, value in sorted(own.items(), key=lambda one: -one[1])[:candidates]:
            found[span] = max(value, found.get(span, -np.inf))
    ranked = sorted(found.items(), key=lambda one: -one[1])[:candidates]
    values = np.array([min(nothing), *(value for _, value in ranked)])
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    return [(*span, share) for (span, _), share in zip(ranked, shares[1:], strict=True)], shares[0]


@pytest.mark.parametrize("method", ["head", "lora", "full"])
def test_entities_are_those_of_the_pipeline_of_transformers(engine, tmp_path, method):
    from transformers import pipeline

    made = make(
        tmp_path / "a", method, names=BIO, task="token-classification", temperature=1.0, seed=31, max_length=128
    )
    record(made, texts=TEXTS, tokens=[token_chances(made, text).tolist() for text in TEXTS])
    with engine.client() as client:
        described = load(client, "t1", f"ner-{method}", made)
        answer = client.tag(tenant="t1", model=described.model, texts=TEXTS)
        report = client.parity(tenant="t1", model=described.model)
    assert report.passed and report.worst < 1e-3 and report.n == len(TEXTS), report
    plain = pipeline(
        "token-classification", reference.model_of(made, "BertForTokenClassification"),
        tokenizer=reference.tokenizer(), aggregation_strategy="first", device="cpu",
    )  # fmt: skip
    assert sum(map(len, answer.entities)) > 10, "a random head that finds nothing would prove nothing"
    for text, found in zip(TEXTS, answer.entities, strict=True):
        expected = plain(text)
        assert places(found) == [(e["entity_group"], e["start"], e["end"]) for e in expected]
        np.testing.assert_allclose([e.score for e in found], [e["score"] for e in expected], atol=1e-3)
    assert answer.lengths == [len(reference.tokenizer()(text)["input_ids"]) for text in TEXTS]
    assert answer.limit == UNCUT


def test_a_long_text_is_judged_whole_in_windows(engine, tmp_path):
    import torch

    made = make(tmp_path / "a", names=BIO, task="token-classification", temperature=1.0, seed=32, max_length=32)
    text = " ".join(f"Angela{i} went to Paris{i} by train." for i in range(20))
    batch = reference.tokenizer()(
        text, max_length=32, stride=7, truncation=True, return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    model = reference.model_of(made, "BertForTokenClassification")
    seen: dict[tuple[int, int], tuple[int, np.ndarray]] = {}  # by place in the text: tokens around, and all chances
    for ids, offsets in zip(batch["input_ids"], batch["offset_mapping"], strict=True):
        with torch.no_grad():
            chances = model(torch.tensor([ids])).logits[0].softmax(-1).numpy()
        for i in range(1, len(ids) - 1):
            around = min(i, len(ids) - 1 - i) if ids is not batch["input_ids"][-1] else i
            if offsets[i] not in seen or around >= seen[offsets[i]][0]:
                seen[offsets[i]] = around, chances[i]
    labels = {offsets: BIO[chances.argmax()] for offsets, (_, chances) in seen.items()}
    with engine.client() as client:
        load(client, "t1", "windows", made)
        answer = client.tag(tenant="t1", model="windows", texts=[text, "Paris"])
        with pytest.raises(TooLarge, match="windows of what the model reads"):
            client.tag(tenant="t1", model="windows", texts=[text * 20] * 40)
    assert len(batch["input_ids"]) > 5
    assert answer.lengths[0] == len(labels) + 2
    assert answer.entities[0][-1].end > len(text) - 30, "the end of the text is judged as well"
    for entity in answer.entities[0]:
        first = next(label for (start, _), label in labels.items() if start == entity.start)
        assert first[2:] == entity.label
    begun = [
        offsets for offsets, label in labels.items() if label[0] == "B" and text[offsets[0] - 1 : offsets[0]] in " "
    ]
    assert {start for start, _ in begun} <= {entity.start for entity in answer.entities[0]}


@pytest.mark.parametrize(("method", "limit"), [("head", 256), ("lora", 256), ("full", 64), ("head", 64)])
def test_answers_are_the_best_of_all_spans_of_all_windows(engine, tmp_path, method, limit):
    made = make(
        tmp_path / "a",
        method,
        names=ENDS,
        task="question-answering",
        temperature=1.0,
        seed=33,
        max_length=limit,
        spread=0.2,
    )
    fitting = [next(windows(made, pair, 256, 0))[1].tolist() for pair in PAIRS]
    record(made, pairs=PAIRS, logits=fitting)
    pairs = [*PAIRS, LONG]
    with engine.client() as client:
        described = load(client, "t1", f"qa-{method}-{limit}", made)
        answer = client.ask(tenant="t1", model=described.model, pairs=pairs, answers=5)
        assert client.parity(tenant="t1", model=described.model).passed
    for pair, spans, nothing in zip(pairs, answer.spans, answer.nothing, strict=True):
        question = len(reference.tokenizer()(pair[0], add_special_tokens=False)["input_ids"])
        expected, without = best_spans(made, pair, limit, (limit - question - 3) // 4)
        assert nothing == pytest.approx(without, abs=2e-3)
        assert [(s.start, s.end) for s in spans] == [(start, end) for start, end, _ in expected[:5]]
        np.testing.assert_allclose([s.score for s in spans], [share for *_, share in expected[:5]], atol=2e-3)
    assert answer.lengths[3] == len(reference.tokenizer()(*LONG)["input_ids"])


@pytest.mark.parametrize(
    ("method", "dense", "pooling"), [("full", True, "cls"), ("lora", True, "cls"), ("head", False, "mean")]
)
def test_a_cross_encoder_scores_pairs_as_transformers_does(engine, tmp_path, method, dense, pooling):
    import torch

    made = make(
        tmp_path / "a", method, names=["relevance"], task="rerank", dense=dense, pooling=pooling, seed=34,
        temperature=1.0, max_length=48, spread=0.1,
    )  # fmt: skip
    batch = [
        reference.tokenizer()(QUERY, one, truncation="longest_first", max_length=48, return_tensors="pt")
        for one in DOCUMENTS
    ]
    with torch.no_grad():
        if dense:
            model = reference.model_of(made, "BertForSequenceClassification")
            logits = [model(**one).logits[0] for one in batch]
        else:
            model = reference.model_of(made, "BertForTokenClassification")  # its `bert` and its linear layer
            logits = [model.classifier(model.bert(**one).last_hidden_state[0].mean(0)) for one in batch]
    expected = torch.stack(logits).sigmoid().numpy()
    record(made, pairs=[(QUERY, one) for one in DOCUMENTS], probabilities=expected.tolist())
    with engine.client() as client:
        described = load(client, "t1", f"rank-{method}", made)
        answer = client.rank(tenant="t1", model=described.model, query=QUERY, texts=DOCUMENTS)
        report = client.parity(tenant="t1", model=described.model)
    assert np.ptp(expected) > 0.02
    np.testing.assert_allclose(vectors(answer), expected, atol=5e-4)
    assert report.passed and report.worst < 1e-3, report
    assert answer.lengths[2] > answer.limit == 48, "a long document is cut, and that is told"


@pytest.mark.parametrize(
    ("task", "labels", "act"),
    [
        ("multi-label-classification", 1, lambda x: x.sigmoid()),
        ("multi-label-classification", 4, lambda x: x.sigmoid()),
        ("regression", 1, lambda x: x),
        ("text-classification", 3, lambda x: x.softmax(-1)),
    ],
)
def test_a_layer_before_the_labels_is_that_of_berts_own_heads(engine, tmp_path, task, labels, act):
    import torch

    made = make(tmp_path / "a", "lora", labels=labels, task=task, dense=True, pooling="cls", seed=35, temperature=1.0)
    model = reference.model_of(made, "BertForSequenceClassification")
    with torch.no_grad():
        rows = [model(**reference.tokenizer()(t, return_tensors="pt")).logits[0] for t in TEXTS]
    with engine.client() as client:
        load(client, "t1", f"dense-{task}-{labels}", made)
        found = vectors(client.classify(tenant="t1", model=f"dense-{task}-{labels}", texts=TEXTS))
    np.testing.assert_allclose(found, act(torch.stack(rows)).numpy(), atol=2e-3)


def test_all_heads_over_one_base_share_batches_and_answer_as_alone(engine, tmp_path):
    tasks = {
        "ner": {"names": BIO, "task": "token-classification", "method": "lora"},
        "qa": {"names": ENDS, "task": "question-answering", "method": "lora", "rank": 16, "spread": 0.2},
        "rank": {
            "names": ["relevance"],
            "task": "rerank",
            "dense": True,
            "pooling": "cls",
            "method": "lora",
            "rank": 4,
        },
        "labels": {"labels": 4, "method": "lora"},
        "several": {"labels": 3, "task": "multi-label-classification", "method": "head", "pooling": "cls"},
    }
    for seed, (name, options) in enumerate(tasks.items()):
        with engine.client() as client:
            load(client, f"t{seed}", f"mixed-{name}", make(tmp_path / name, seed=40 + seed, max_length=128, **options))

    async def asked(client: EngineClient):
        return await asyncio.gather(
            client.tag(tenant="t0", model="mixed-ner", texts=TEXTS),
            client.ask(tenant="t1", model="mixed-qa", pairs=[*PAIRS, LONG], answers=3),
            client.rank(tenant="t2", model="mixed-rank", query=QUERY, texts=DOCUMENTS),
            client.classify(tenant="t3", model="mixed-labels", texts=TEXTS),
            client.classify(tenant="t4", model="mixed-several", texts=TEXTS),
            client.embed(tenant="t5", base=BASE.name, texts=TEXTS),
        )

    async def run():
        client = EngineClient(engine.address, TOKEN)
        alone = [
            await client.tag(tenant="t0", model="mixed-ner", texts=TEXTS),
            await client.ask(tenant="t1", model="mixed-qa", pairs=[*PAIRS, LONG], answers=3),
            await client.rank(tenant="t2", model="mixed-rank", query=QUERY, texts=DOCUMENTS),
            await client.classify(tenant="t3", model="mixed-labels", texts=TEXTS),
            await client.classify(tenant="t4", model="mixed-several", texts=TEXTS),
            await client.embed(tenant="t5", base=BASE.name, texts=TEXTS),
        ]
        mixed = await asyncio.gather(*(asked(client) for _ in range(6)))
        await client.close()
        return alone, mixed

    alone, mixed = asyncio.run(run())
    for answers in mixed:
        assert list(map(places, answers[0].entities)) == list(map(places, alone[0].entities))
        assert [[(s.start, s.end) for s in one] for one in answers[1].spans] == [
            [(s.start, s.end) for s in one] for one in alone[1].spans
        ]
        for place, name in ((2, "probabilities"), (3, "probabilities"), (4, "probabilities"), (5, "vectors")):
            np.testing.assert_allclose(vectors(answers[place], name), vectors(alone[place], name), atol=5e-4)


def test_a_hot_adapter_of_a_token_model_is_merged_and_answers_alike(engine, tmp_path):
    made = make(tmp_path / "a", "lora", names=BIO, task="token-classification", seed=36)
    with engine.client() as client:
        load(client, "hot", "hot-ner", made)
        before = client.tag(tenant="hot", model="hot-ner", texts=TEXTS)
        deadline = time.monotonic() + 60
        calls = 0
        while not any(one.model == "hot-ner" + MERGED for one in client.health().residents):
            assert time.monotonic() < deadline, "no copy was made"
            if calls <= WINDOWS + 1:  # one more than is due: the first window may have begun with others' texts
                client.tag(tenant="hot", model="hot-ner", texts=["hi"] * WINDOW)
            calls += 1
        after = client.tag(tenant="hot", model="hot-ner", texts=TEXTS)
        client.unload(tenant="hot", model="hot-ner")
    assert list(map(places, before.entities)) == list(map(places, after.entities))


def test_what_a_model_is_not_for_is_refused_by_name(engine, tmp_path):
    with engine.client() as client:
        load(client, "t1", "only-ner", make(tmp_path / "n", names=BIO, task="token-classification"))
        load(client, "t1", "only-qa", make(tmp_path / "q", names=ENDS, task="question-answering", max_length=64))
        with pytest.raises(BadRequest, match="is for token-classification and gives no labels of a text"):
            client.classify(tenant="t1", model="only-ner", texts=["a"])
        with pytest.raises(BadRequest, match="is for token-classification, not for question-answering"):
            client.ask(tenant="t1", model="only-ner", pairs=[("a", "b")])
        with pytest.raises(BadRequest, match="not for rerank"):
            client.rank(tenant="t1", model="only-qa", query="a", texts=["b"])
        with pytest.raises(BadRequest, match="a question may be half of them"):
            client.ask(tenant="t1", model="only-qa", pairs=[("why " * 50, "because " * 50)])
        with pytest.raises(BadRequest) as refused:  # over none of the limits on texts: a pair is one
            client.ask(tenant="t1", model="only-qa", pairs=[("a", "b")] * 1500 + [("why " * 50, "because " * 50)])
        assert not isinstance(refused.value, TooLarge)
        with pytest.raises(BadRequest, match="1 to 20 answers"):
            client.ask(tenant="t1", model="only-qa", pairs=[("a", "b")], answers=21)
        empty = client.ask(tenant="t1", model="only-qa", pairs=[("a", "")])
        assert empty.spans == [[]] and empty.nothing == [pytest.approx(1.0)]
        assert client.tag(tenant="t1", model="only-ner", texts=[""]).entities == [[]]


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("question-answering", {"labels": 2}, "must be .'start', 'end'."),
        ("question-answering", {"labels": 3}, "holds 3 labels"),
        ("rerank", {"labels": 2}, "holds 2 labels"),
        ("token-classification", {"labels": 1}, "holds 1 labels"),
        ("token-classification", {"names": BIO, "dense": True}, "does not have"),
    ],
)
def test_a_head_that_does_not_fit_its_task_is_refused(engine, tmp_path, task, options, message):
    made = make(tmp_path / "a", task=task, **options)
    with engine.client() as client, pytest.raises(BadArtefact, match=message):
        load(client, "t1", "odd", made)


def test_records_of_another_shape_are_refused(engine, tmp_path):
    made = make(tmp_path / "a", names=BIO, task="token-classification")
    with engine.client() as client:
        for content, message in (
            ({"texts": ["ok"], "tokens": [[[0.5, 0.5]]]}, "one row of 5 probabilities"),
            ({"texts": ["ok"], "probabilities": [[0.2] * 5]}, "not as the format asks"),
            ({"texts": ["ok", "no"], "tokens": [[[0.2] * 5]]}, "for each text"),
        ):
            record(made, **content)
            with pytest.raises(BadArtefact, match=message):
                load(client, "t1", "recorded", made)
        record(made, texts=["ok"], tokens=[[[0.2] * 5] * 3])
        load(client, "t1", "recorded", made)
        with pytest.raises(BadArtefact, match="another number of tokens"):
            client.parity(tenant="t1", model="recorded")
