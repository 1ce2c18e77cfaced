"""The playground shows what models of every task say: marked entities, answers, chances, quantities, scores."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest

from billing.models import UsageEvent
from serving.models import RequestRecord, RequestText
from serving.texts import texts_keep
from tenants.scope import tenant_scope
from tests.inference.test_token_heads import DOCUMENTS, LONG, PAIRS, QUERY, TEXTS
from tests.serving.heads import expected, live, made_for, roomy, scores

pytestmark = pytest.mark.slow  # starts real processes


def test_each_task_has_a_face_that_shows_its_answer(engine: None, tmp_path: Path) -> None:
    person = roomy("ada")
    made = {
        task: made_for(task, tmp_path / task)
        for task in ("token-classification", "question-answering", "rerank", "regression", "multi-label-classification",
                     "embeddings")
    }  # fmt: skip
    names = {task: live(person, one, task[:20]) for task, one in made.items()}

    with tenant_scope(person.tenant.id):
        texts_keep(project=person.project, days=1)

    def run(task: str, text: str, other: str = "") -> str:
        shown = person.browser.get(f"{person.workspace}/playground/", {"model": names[task]})
        assert shown.status_code == 200
        body = {"model": shown.context["chosen"].value, "text": text, "other": other, "threshold": "0.5"}
        answer = person.browser.post(f"{person.workspace}/playground/", body)
        assert answer.status_code == 200, answer.content
        return " ".join(unescape(answer.content.decode()).split())

    page = run("token-classification", TEXTS[0])
    assert page.count("<mark") >= 1 and "/v1/predict" in page
    question, context = PAIRS[0]
    page = run("question-answering", question, context)
    assert "The chance that the text holds no answer" in page and '"question"' in page
    page = run("rerank", QUERY, DOCUMENTS[1])
    assert f"{scores(made['rerank'], DOCUMENTS[1:2])[0, 0]:.2f}" in page
    page = run("regression", "ok")
    assert "stars" in page and f"{abs(expected('regression', made['regression'], ['ok'])[0, 0]):.1f}" in page
    page = run("multi-label-classification", "ok")
    chances = expected("multi-label-classification", made["multi-label-classification"], ["ok"])[0]
    assert page.count("<td>yes</td>") == int((chances >= 0.5).sum())
    assert "Cosine similarity" in run("embeddings", "a", "b")
    with tenant_scope(person.tenant.id):
        kinds = sorted(UsageEvent.objects.values_list("kind", flat=True))
        logged = dict(RequestRecord.objects.values_list("pk", "kind"))
        kept = {row.pk: (row.input, row.output) for row in RequestText.objects.all()}
    assert kinds == ["classify"] * 4 + ["embeddings", "rerank"] == sorted(logged.values())
    assert set(kept) == set(logged), "the texts of every one are kept, as the project asked for"
    assert any(sent == TEXTS[0] and '"label"' in said for sent, said in kept.values())
    assert any(question in sent and context in sent for sent, _ in kept.values())
    asked = {"model": names["question-answering"], "text": "why " * 90, "other": LONG[1]}
    shown = person.browser.get(f"{person.workspace}/playground/", {"model": names["question-answering"]})
    refused = person.browser.post(f"{person.workspace}/playground/", asked | {"model": shown.context["chosen"].value})
    assert refused.status_code == 400 and "a question may be half of them" in refused.content.decode()
