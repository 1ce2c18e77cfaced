"""Conversations and prompts with completions become versions like labelled text: split, hashed, immutable, refused
where a task needs something else."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db.utils import DatabaseError

from data import selectors
from data.columns import CHAT, PAIRS
from data.examine import examine
from data.fixes import plan_of
from data.models import DatasetVersion
from data.services import file_process, version_write
from data.writer import CannotWrite, Part, write_version
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.data.making import checked_file, stored_file
from tests.data.test_files_api import problem

THINGS = ["lamp", "kettle", "parcel", "invoice", "account", "card", "plan", "door", "cable", "speaker", "box", "shelf"]


def chat_row(i: int, **extra: Any) -> dict[str, Any]:
    """One conversation, unlike the others."""
    thing, other = THINGS[i % 12], THINGS[(i * 5 + 3) % 12]
    return {
        "messages": [
            {"role": "system", "content": "You answer customers briefly and exactly, in one or two sentences."},
            {"role": "user", "content": f"The {thing} number {i * 7919} came with the wrong {other}, what now?"},
            {"role": "assistant", "content": f"Send the {other} back with form {i * 31}; the right one leaves today."},
        ],
        **extra,
    }


def pair_row(i: int) -> dict[str, Any]:
    """One prompt with its completion."""
    return {"prompt": f"Sort: {THINGS[i % 12]} {i * 7919} {THINGS[(i * 7) % 12]}", "completion": f"shelf {i * 13}"}


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    """The rows as a file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def made(person: Person, content: bytes, **body: Any) -> dict[str, Any]:
    """A dataset of an uploaded file, its first version written."""
    file = checked_file(person, content, "talk.jsonl")
    answer = person.api.post("/v1/datasets", {"file_id": file.public_id, **body})
    assert answer.status_code == 200, answer.content
    found = answer.json()
    with tenant_scope(person.tenant.id):
        version = selectors.version_get(person.project.id, found["version"]["id"])
    version_write(tenant_id=person.tenant.id, version_id=version.pk)
    return dict(person.api.get(f"/v1/datasets/{found['id']}").json())


def test_a_chat_file_becomes_a_version_with_split_hash_lineage_and_lengths(cast: Cast) -> None:
    rows = [chat_row(i) for i in range(60)]
    found = made(cast.owner, jsonl([*rows, rows[0]]), fixes=[{"fix": "drop_duplicates"}], seed=5)
    version = found["version"]
    assert (version["task"], version["state"], version["rows"], version["seed"]) == ("chat", "ready", 60, 5)
    assert version["dropped"] == {"drop_duplicates": 1}
    assert version["splits"]["test"] >= 3 and version["splits"]["validation"] >= 3
    assert version["columns"] == {"messages": "messages"} and len(version["content_sha256"]) == 64
    assert version["profile"]["lengths"]["messages"]["percentiles"]["p50"] == 3
    assert version["profile"]["lengths"]["characters"]["percentiles"]["p99"] > 100
    path = f"/v1/datasets/{found['id']}/versions/{version['id']}/rows"
    page = cast.owner.api.get(f"{path}?limit=3").json()
    assert [row["row_id"] for row in page["data"]] == [1, 2, 3]
    assert page["data"][0]["messages"] == rows[0]["messages"] and page["data"][0]["tools"] is None
    assert {row["split"] for row in cast.owner.api.get(f"{path}?split=test").json()["data"]} == {"test"}
    assert [row["row_id"] for row in cast.owner.api.get(f"{path}?q=NUMBER+7919+").json()["data"]] == [2]
    with pytest.raises(DatabaseError), tenant_scope(cast.owner.tenant.id):
        DatasetVersion.objects.filter(rows=60, task="chat").update(rows=1)


def test_prompts_with_completions_become_a_version_too(cast: Cast) -> None:
    found = made(cast.owner, jsonl([pair_row(i) for i in range(40)]))
    version = found["version"]
    assert (version["task"], version["rows"], version["labels"]) == ("prompt-completion", 40, {})
    rows = cast.owner.api.get(f"/v1/datasets/{found['id']}/versions/{version['id']}/rows?limit=2").json()["data"]
    assert set(rows[0]) == {"row_id", "prompt", "completion", "split"} and rows[1]["completion"] == "shelf 13"
    again = cast.owner.api.post(f"/v1/datasets/{found['id']}/versions", {"fixes": [{"fix": "drop_near_duplicates"}]})
    assert again.json()["parent_id"] == version["id"] and again.json()["number"] == 2
    refused = cast.owner.api.post(f"/v1/datasets/{found['id']}/versions", {"fixes": [{"fix": "merge_labels",
                                  "labels": {"a": "b"}}]})  # fmt: skip
    assert "is for labelled text" in problem(refused, 400, "invalid_fix")


@pytest.mark.parametrize("kind", ["chat", "prompt-completion"])
def test_text_classification_refuses_other_rows_and_says_what_it_needs(cast: Cast, kind: str) -> None:
    rows = [chat_row(i) if kind == "chat" else pair_row(i) for i in range(20)]
    found = made(cast.owner, jsonl(rows))
    file_id = found["version"]["files"][0]["file_id"]
    for name in (found["version"]["id"], file_id):
        for route in ("jobs", "jobs/estimate"):
            body = {"model": "all-MiniLM-L6-v2", "training_file": name}
            words = problem(cast.owner.api.post(f"/v1/fine_tuning/{route}", body), 422, "wrong_task")
            assert "text-classification trains on rows with a text and a label" in words and name in words
    assert cast.owner.api.get("/v1/fine_tuning/jobs").json()["data"] == []


def test_a_job_on_a_chat_file_still_being_checked_fails_with_the_same_words(cast: Cast) -> None:
    from training.models import Job
    from training.services.queueing import job_validate

    waiting = stored_file(cast.owner, jsonl([chat_row(i) for i in range(20)]), "talk.jsonl")
    body = {"model": "all-MiniLM-L6-v2", "training_file": waiting.public_id}
    job = cast.owner.api.post("/v1/fine_tuning/jobs", body).json()
    assert job["status"] == "validating_files"
    file_process(tenant_id=cast.owner.tenant.id, file_id=waiting.pk)
    with tenant_scope(cast.owner.tenant.id):
        pk = Job.objects.get().pk
    job_validate(tenant_id=cast.owner.tenant.id, job_id=pk)
    failed = cast.owner.api.get(f"/v1/fine_tuning/jobs/{job['id']}").json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "wrong_task")
    assert "a text and a label" in failed["error"]["message"]


def test_pairs_train_a_classifier_once_their_columns_are_named(cast: Cast) -> None:
    rows = [{"prompt": f"{THINGS[i % 12]} {i * 7919} came late", "completion": "ab"[i % 2]} for i in range(40)]
    file = checked_file(cast.owner, jsonl(rows), "pairs.jsonl")
    body = {"file_id": file.public_id, "columns": {"text": "prompt", "label": "completion"}}
    version = cast.owner.api.post("/v1/datasets", body).json()["version"]
    assert (version["task"], version["columns"]) == ("text-classification", {"text": "prompt", "label": "completion"})
    mixed = {"file_id": file.public_id, "columns": {"text": "prompt", "completion": "completion"}}
    problem(cast.owner.api.post("/v1/datasets", mixed), 400, "invalid_columns")


def test_files_of_two_kinds_make_no_dataset(cast: Cast) -> None:
    talk = checked_file(cast.owner, jsonl([chat_row(i) for i in range(12)]))
    body = {"files": [{"file_id": checked_file(cast.owner).public_id}, {"file_id": talk.public_id}]}
    assert "one dataset of each kind" in problem(cast.owner.api.post("/v1/datasets", body), 422, "invalid_file")


def test_broken_conversations_block_a_version_until_they_are_dropped(cast: Cast) -> None:
    content = jsonl([*(chat_row(i) for i in range(20)), {"messages": []}, {"messages": [{"role": "user"}]}])
    file = checked_file(cast.owner, content)
    words = problem(cast.owner.api.post("/v1/datasets", {"file_id": file.public_id}), 422, "invalid_file")
    assert "missing_messages" in words and "Rows 21." in words
    found = made(cast.owner, content, fixes=[{"fix": "drop_bad_rows"}])
    assert found["version"]["dropped"] == {"unusable:bad_message": 1, "unusable:missing_messages": 1}


def test_rows_that_ask_the_same_stay_on_one_side_and_a_template_ties_nothing_together(tmp_path: Path) -> None:
    long = "Read the request below with care and name the shelf on which the goods it speaks of belong. " * 6
    rows = [
        {"prompt": f"{long} {THINGS[i % 12]} {i // 2 * 7919}", "completion": f"answer {i * 17}"} for i in range(200)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(jsonl(rows))
    written = write_version([Part(path)], tmp_path / "v.parquet", task=PAIRS)
    assert written.splits["train"] >= 100 and min(written.splits.values()) >= 8
    same = [{**row, "prompt": rows[i // 2 * 2]["prompt"]} for i, row in enumerate(rows)]
    path.write_bytes(jsonl(same))
    write_version([Part(path)], tmp_path / "v.parquet", task=PAIRS)
    sides = defaultdict(set)
    for row in pq.read_table(tmp_path / "v.parquet").to_pylist():
        sides[row["prompt"]].add(row["split"])
    assert len(sides) == 100 and all(len(side) == 1 for side in sides.values())


def test_the_written_file_keeps_the_promised_columns_and_can_be_uploaded_again(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
    rows = [chat_row(i, tools=tools if i % 2 else None) for i in range(20)]
    path = tmp_path / "chat.jsonl"
    path.write_bytes(jsonl(rows))
    one = write_version([Part(path)], tmp_path / "one.parquet", task=CHAT)
    table = pq.read_table(tmp_path / "one.parquet")
    assert table.schema.names == ["row_id", "messages", "tools", "split"]
    assert json.loads(table["messages"][1].as_py()) == rows[1]["messages"]
    assert json.loads(table["tools"][1].as_py()) == tools and table["tools"][0].as_py() is None
    two = write_version([Part(tmp_path / "one.parquet")], tmp_path / "two.parquet", task=CHAT)
    assert two.splits == one.splits and two.content_sha256 == one.content_sha256
    assert write_version([Part(path)], tmp_path / "v.parquet", task=CHAT, seed=9).content_sha256 != one.content_sha256


def test_messages_in_nested_parquet_columns_lose_only_their_empty_keys(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    rows = [chat_row(i) for i in range(12)]
    rows[3]["messages"][2] = {"role": "assistant", "content": None, "tool_calls": [call]}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    write_version([Part(tmp_path / "in.parquet")], tmp_path / "v.parquet", task=CHAT)
    found = [json.loads(text) for text in pq.read_table(tmp_path / "v.parquet")["messages"].to_pylist()]
    assert found[0] == rows[0]["messages"]
    assert found[3][2] == {"role": "assistant", "content": None, "tool_calls": [call]}


def test_what_is_left_of_a_conversation_set_must_be_trainable(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_bytes(jsonl([chat_row(1)] * 20))
    with pytest.raises(CannotWrite) as refused:
        write_version([Part(path)], tmp_path / "v.parquet", task=CHAT, plan=plan_of([{"fix": "drop_duplicates"}]))
    assert refused.value.code == "too_few_rows"


def test_broken_tools_and_odd_splits_are_findings(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    rows = [chat_row(i, tools=[{"type": "function", "function": {"name": "f"}}], split="train") for i in range(12)]
    rows += [chat_row(90, tools=[{"type": "function"}], split="train"), chat_row(91, tools=[], split="train")]
    path.write_bytes(jsonl(rows))
    result = examine(path).as_dict()
    assert result["roles"] == {"messages": "messages", "tools": "tools", "split": "split"}
    assert {f["code"]: f["rows"] for f in result["findings"]}["bad_tools"] == [13]
    assert result["profile"]["splits"] == {"train": 13}
    path.write_bytes(jsonl([{**row, "tools": None} for row in rows] + [{**rows[0], "tools": None, "split": "test"}]))
    assert {f["code"]: f["rows"] for f in examine(path).as_dict()["findings"]}["split_leakage"] == [15]
