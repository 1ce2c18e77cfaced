"""Calls through the official client: decisions, classify, embeddings, and what chat answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import openai
import pytest

from tests.conftest import Cast, Person, make_person
from tests.contracts.conformance import answer_schema, body_schema, differences
from tests.gateway.conftest import GatewayProcess
from tests.inference import reference
from tests.inference.artefacts import BASE, Made
from tests.serving.made import TEXTS, deployed, trained

pytestmark = pytest.mark.slow  # starts real processes


class Ready:
    """An owner with a live model."""

    def __init__(self, person: Person, name: str, made: Made) -> None:
        self.person, self.model, self.made = person, name, made


@pytest.fixture(scope="module")
def ready(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    person = make_person("ada")
    version, made = trained(person, tmp_path_factory.mktemp("m") / "a", "lora")
    row = deployed(person, version, alias="triage@prod")
    assert row.state == "live", row.reason
    return Ready(person, version.model.name, made)


def post(gateway: GatewayProcess, ready: Ready, path: str, body: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, headers, answer = gateway.post(path, raw, ready.person.key)
    return status, headers, json.loads(answer)


def test_a_choice_is_answered_by_the_trained_head(gateway: GatewayProcess, ready: Ready) -> None:
    client = gateway.client(ready.person)
    expected = reference.probabilities(ready.made, [TEXTS[0]])[0]
    decision = client.decisions.create(
        model=ready.model,
        input=TEXTS[0],
        questions=[{"type": "choice", "instructions": "Which intent?", "name": "intent"}],  # type: ignore[typeddict-item]
    )
    answer = decision.answers[0]
    assert answer.type == "choice"
    assert answer.name == "intent"
    assert answer.choice == ready.made.labels[int(expected.argmax())]
    assert answer.confidence == pytest.approx(float(expected.max()), abs=1e-3)
    assert sum(one.probability for one in answer.probabilities) == pytest.approx(1, abs=1e-4)
    assert decision.usage.input_tokens == decision.usage.total_tokens > 0


def test_a_subset_of_choices_is_renormalised_and_predicates_read_one_label(
    gateway: GatewayProcess, ready: Ready
) -> None:
    expected = reference.probabilities(ready.made, [TEXTS[1]])[0]
    labels = ready.made.labels
    decision = gateway.client(ready.person).decisions.create(
        model="triage@prod",
        input=[{"role": "user", "content": [{"type": "input_text", "text": TEXTS[1]}]}],
        questions=[
            {"type": "choice", "instructions": "x", "choices": [{"value": labels[3]}, {"value": labels[1]}]},
            {"type": "predicate", "instructions": "It is this one", "name": labels[2]},
        ],
    )
    choice, predicate = decision.answers
    share = expected[[3, 1]] / expected[[3, 1]].sum()
    assert {one.value: one.probability for one in choice.probabilities} == {
        labels[3]: pytest.approx(float(share[0]), abs=1e-3),
        labels[1]: pytest.approx(float(share[1]), abs=1e-3),
    }
    assert predicate.probability == pytest.approx(float(expected[2]), abs=1e-3)
    assert decision.model == ready.model


@pytest.mark.parametrize(
    ("question", "param", "words"),
    [
        ({"type": "choice", "instructions": "x", "choices": [{"value": "label 1"}, {"value": "nope"}]},
         "questions[0].choices[1].value", "Its labels: label 0, label 1"),
        ({"type": "choice", "instructions": "x", "choices": [{"value": "label 1"}]},
         "questions[0].choices", "2 to 255"),
        ({"type": "choice", "instructions": "x", "choices": [{"value": "label 1"}] * 2},
         "questions[0].choices", "twice"),
        ({"type": "choice", "instructions": "x", "choices": [{"value": 3}, {"value": "label 1"}]},
         "questions[0].choices[0].value", "true or false"),
        ({"type": "predicate", "instructions": "is it?"}, "questions[0].name", "set 'name'"),
        ({"type": "score", "instructions": "x", "levels": [{"label": "a"}, {"label": "b"}]},
         "questions[0].levels[0].label", "knows no label 'a'"),
        ({"type": "magic"}, "questions[0].type", "magic"),
        ({"type": "choice", "instructions": "x", "colour": "red"}, "questions[0].colour",
         "Unknown field 'questions[0].colour'. It takes choices, instructions, name, type."),
        ({"type": "choice", "instructions": "x", "choices": [{"value": True}, {"valu": True}]},
         "questions[0].choices[1].valu", "It takes description, value."),
        ({"type": "predicate", "instructions": [{"type": "input_text", "txt": "x"}]},
         "questions[0].instructions[0].txt", "It takes prompt_cache_breakpoint, text, type."),
    ],
)  # fmt: skip
def test_questions_that_cannot_be_answered_are_refused_with_their_place(
    gateway: GatewayProcess, ready: Ready, question: dict[str, Any], param: str, words: str
) -> None:
    body = {"model": ready.model, "input": "hello", "questions": [question]}
    status, _, answer = post(gateway, ready, "/v1/decisions", body)
    assert status == 400, answer
    assert answer["error"]["param"] == param
    assert words in answer["error"]["message"]


def test_classify_ranks_every_label_of_every_text(gateway: GatewayProcess, ready: Ready) -> None:
    expected = reference.probabilities(ready.made, TEXTS)
    status, headers, answer = post(gateway, ready, "/v1/classify", {"model": ready.model, "input": TEXTS})
    assert status == 200, answer
    assert (answer["object"], answer["model"]) == ("list", ready.model)
    for index, (item, row) in enumerate(zip(answer["data"], expected, strict=True)):
        found = {one["label"]: one["probability"] for one in item["probabilities"]}
        assert item["index"] == index
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert item["label"] == ready.made.labels[int(row.argmax())]
        assert item["confidence"] == item["probabilities"][0]["probability"]
        np.testing.assert_allclose([found[label] for label in ready.made.labels], row, atol=1e-3)
    assert answer["usage"]["input_tokens"] == answer["usage"]["total_tokens"] > 0
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-version"] == "2020-10-01"
    assert float(headers["x-cost-usd"]) == pytest.approx(answer["usage"]["input_tokens"] * 20e-9)
    assert headers["openai-organization"] == ready.person.tenant.slug
    assert int(headers["openai-processing-ms"]) >= 0
    for kind in ("requests", "tokens"):
        assert int(headers[f"x-ratelimit-limit-{kind}"]) >= int(headers[f"x-ratelimit-remaining-{kind}"]) >= 0
        assert headers[f"x-ratelimit-reset-{kind}"]


def test_classify_takes_one_text_and_the_top_few(gateway: GatewayProcess, ready: Ready) -> None:
    status, _, answer = post(gateway, ready, "/v1/classify", {"model": ready.model, "input": "hello", "top_k": 2})
    assert status == 200
    assert [len(item["probabilities"]) for item in answer["data"]] == [2]


def test_a_text_over_the_limit_is_counted_and_reported(gateway: GatewayProcess, ready: Ready) -> None:
    body = {"model": ready.model, "input": ["short", "word " * 500]}
    _, _, answer = post(gateway, ready, "/v1/classify", body)
    assert "x_truncated_tokens" not in answer["data"][0]
    assert answer["data"][1]["x_truncated_tokens"] == 502 - 64
    assert answer["usage"] == {"input_tokens": 67, "total_tokens": 67, "x_truncated_inputs": 1}


def test_embeddings_come_as_the_official_client_wants_them(gateway: GatewayProcess, ready: Ready) -> None:
    client = gateway.client(ready.person)
    packed = client.embeddings.create(model=BASE.name, input=TEXTS)
    plain = client.embeddings.create(model=BASE.name, input=TEXTS[0], encoding_format="float")
    assert len(packed.data) == len(TEXTS)
    assert np.linalg.norm(packed.data[0].embedding) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(packed.data[0].embedding, plain.data[0].embedding, atol=1e-5)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0
    whole = np.array(packed.data[0].embedding)
    for size in (1, 128, len(whole)):
        cut = client.embeddings.create(model=BASE.name, input=TEXTS, dimensions=size)
        np.testing.assert_allclose(cut.data[0].embedding, whole[:size] / np.linalg.norm(whole[:size]), atol=1e-5)
    tuned = client.embeddings.create(model=ready.model, input=TEXTS[0])
    assert not np.allclose(tuned.data[0].embedding, packed.data[0].embedding, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 385}, "dimensions"),
        ({"dimensions": "128"}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_embedding_requests_name_the_field(
    gateway: GatewayProcess, ready: Ready, changes: dict[str, Any], param: str
) -> None:
    status, _, answer = post(gateway, ready, "/v1/embeddings", {"model": BASE.name, "input": "x"} | changes)
    assert status == 400, answer
    assert answer["error"]["param"] == param
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    tokens = "token numbers" in answer["error"]["message"]
    assert tokens == (changes.get("input") in ([1, 2, 3], [[1, 2], [3]]))
    if tokens:
        assert answer["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"model": NaN}', b'{"model": "m", "input": Infinity}',
        b'{"model": "a", "model": "b", "input": "x"}', b'{"model": 1e999}', b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"model": "m", "input": "\\ud800"}', b'{"model": "m", "input": "a\\u0000b"}', b'{"input": "x"}',
        b'{"model": "m", "input": "x", "top_k": 0}', b'{"model": "m", "input": "x", "top_k": -1}',
        b'{"model": "m", "input": "x", "top_k": 1.5}', b'{"model": "m", "input": "x", "top_k": ' + b"9" * 400 + b"}",
        b'{"model": "' + b"m" * 400 + b'", "input": "x"}',
    ],
)  # fmt: skip
def test_bodies_that_are_not_what_they_should_be_are_refused(gateway: GatewayProcess, ready: Ready, raw: bytes) -> None:
    status, _, answer = post(gateway, ready, "/v1/classify", raw)
    assert status == 400, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["message"]


def test_a_body_over_the_limit_is_refused_by_its_size(gateway: GatewayProcess, ready: Ready) -> None:
    body = {"model": ready.model, "input": ["x" * (1 << 20)] * 9}
    status, _, answer = post(gateway, ready, "/v1/classify", body)
    assert status == 413
    assert "8 MiB" in answer["error"]["message"]


def test_other_methods_and_types_are_refused(gateway: GatewayProcess, ready: Ready) -> None:
    import urllib.error
    import urllib.request

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(gateway.url + "/v1/classify", timeout=5)
    assert refused.value.code == 405
    assert refused.value.headers["allow"] == "POST"
    status, _, _ = gateway.post("/v1/classify", b"a=b", ready.person.key, **{"content-type": "text/plain"})
    assert status == 415


def test_unknown_foreign_and_undeployed_models_are_one_answer(
    gateway: GatewayProcess, ready: Ready, cast: Cast, tmp_path
) -> None:
    version, _ = trained(cast.stranger, tmp_path / "a")
    client = gateway.client(cast.stranger, max_retries=0)
    bodies = []
    for name in (ready.model, "triage@prod", "ft:all-MiniLM-L6-v2:nobody:x:12345678", version.model.name, "o/rg:model"):
        with pytest.raises(openai.NotFoundError) as refused:
            client.embeddings.create(model=name, input="x")
        assert refused.value.code == "model_not_found"
        bodies.append(str(refused.value.body).replace(name, ""))
    assert len(set(bodies)) == 1


def test_chat_and_completions_say_what_can_be_called_instead(gateway: GatewayProcess, ready: Ready) -> None:
    client = gateway.client(ready.person, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="does not write text: it classifies texts") as known:
        client.chat.completions.create(model=ready.model, messages=[{"role": "user", "content": "hi"}])
    assert ready.model in known.value.message
    with pytest.raises(openai.NotFoundError, match="Deployed in this project") as unknown:
        client.completions.create(model="gpt-6", prompt="hi")
    assert unknown.value.code == "model_not_found"
    assert ready.model in unknown.value.message


def test_a_base_has_no_labels_to_classify_with(gateway: GatewayProcess, ready: Ready) -> None:
    status, _, answer = post(gateway, ready, "/v1/classify", {"model": BASE.name, "input": "x"})
    assert status == 400
    assert "POST /v1/embeddings" in answer["error"]["message"]


def test_answers_are_as_the_reference_says(gateway: GatewayProcess, ready: Ready) -> None:
    long = "word " * 2_000
    asked: dict[str, list[dict[str, Any]]] = {
        "/v1/classify": [{"input": [TEXTS[0], long], "top_k": 2}],
        "/v1/decisions": [
            {"input": long, "questions": [{"type": "choice"}, {"type": "predicate", "name": ready.made.labels[0]}]}
        ],
        "/v1/embeddings": [{"input": [TEXTS[0], long]}, {"input": TEXTS[0], "encoding_format": "base64"}],
    }
    for path, bodies in asked.items():
        for body in bodies:
            full = {"model": ready.model, **body}
            assert differences(body_schema("POST", path, "application/json"), full) == []
            status, _, answer = post(gateway, ready, path, full)
            assert status == 200, answer
            assert differences(answer_schema("POST", path, 200), answer) == []
    status, _, answer = post(
        gateway, ready, "/v1/chat/completions", {"model": BASE.name, "messages": [{"role": "user", "content": "hi"}]}
    )
    assert differences(answer_schema("POST", "/v1/chat/completions", 400), answer) == []
    assert status == 400 and "/v1/embeddings" in answer["error"]["message"]


def test_a_wrong_type_is_named_in_words_and_an_unknown_field_with_those_there_are(
    gateway: GatewayProcess, ready: Ready
) -> None:
    for body, words in (
        ({"input": ["a", 5]}, "input[1]: Expected a string, got a whole number."),
        (
            {"input": "a", "stream": True},
            "Unknown field 'stream'. This route reads input, model, top_k, user, x_abstain, x_explain.",
        ),
        (
            {"input": "a", "x_abstain": {"treshold": 0.9}},
            "Unknown field 'x_abstain.treshold'. It takes precision, threshold.",
        ),
    ):
        status, _, answer = post(gateway, ready, "/v1/classify", {"model": ready.model, **body})
        assert (status, answer["error"]["message"]) == (400, words)
