"""What a folder says of how its tokens become one vector: `modules.json`, as sentence-transformers saves it.

Taken is an encoder, then the mean of its tokens or the first of them, then perhaps unit length, which every vector has
here anyway. What else such a folder can name (other poolings, Dense layers, a prompt before each text) is refused by
name, because its vectors would be others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.artefact import MAX_SIZES
from inference.errors import BadArtefact

MODULES = "modules.json"
POOLINGS = ("mean", "cls")
MAX_JSON = 1 << 20
_BY_FLAG = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""How folders name their pooling that were saved before `pooling_mode`."""


@dataclass(frozen=True, slots=True)
class Sentences:
    """How texts become vectors. `encoder`: the folder of config and weights. `pooling` is empty where nothing says it;
    `longest` in tokens, 0 where nothing does."""

    encoder: Path
    pooling: str = ""
    longest: int = 0


def read_sentences(folder: Path) -> Sentences | None:
    """What `modules.json` says; None without one. Raises `BadArtefact` for whatever is not served here."""
    if not (folder / MODULES).is_file():
        return None
    steps = [_step(entry) for entry in _list(folder / MODULES)]
    kinds = [kind for kind, _ in steps]
    for kind in kinds:
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise BadArtefact(
                f"{MODULES} names a {kind} module; what can be served is a Transformer, a Pooling and a Normalize."
            )
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise BadArtefact(f"{MODULES} must name a Transformer, a Pooling and perhaps a Normalize, in this order.")
    for _, path in steps:
        if (folder / path).is_symlink():
            raise BadArtefact(f"{path} is a link. Copy the folder itself.")
    encoder, pooled = (folder / path for _, path in steps[:2])
    _check_use(folder, unit="Normalize" in kinds)
    return Sentences(encoder, _pooling(pooled / "config.json"), _longest(encoder))


def matryoshka(config: dict[str, Any], width: int) -> list[int]:
    """The sizes that config.json names for shorter vectors, in order; none where any size will do. Raises
    `BadArtefact`."""
    said = config.get("matryoshka_dimensions")
    if said is None:
        return []
    whole = isinstance(said, list) and all(type(one) is int and 1 <= one <= width for one in said)
    if not whole or not 1 <= len(said) <= MAX_SIZES:
        raise BadArtefact(f"'matryoshka_dimensions' in config.json must be 1 to {MAX_SIZES} sizes from 1 to {width}.")
    return sorted(set(said))


def _step(entry: Any) -> tuple[str, str]:
    """(kind, folder) of a module; a kind from elsewhere keeps its whole name."""
    kind, path = (entry.get(key) for key in ("type", "path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise BadArtefact(f"Every module in {MODULES} must have a 'type' and a 'path'.")
    if Path(path).name != path:
        raise BadArtefact(f"{MODULES} names the path {path[:80]!r}; only folders inside this one are read.")
    ours = kind.startswith("sentence_transformers.")
    return (kind.rpartition(".")[2] if ours else kind[:120]), path


def _pooling(path: Path) -> str:
    config = _object(path)
    said = config.get("pooling_mode")
    if said is None:
        said = [kind for flag, kind in _BY_FLAG.items() if config.get(flag)] or "mean"
    modes = said if isinstance(said, list) else [said]
    if len(modes) != 1:
        raise BadArtefact(f"The folder joins several poolings ({', '.join(map(str, modes))[:120]}); one is served.")
    if modes[0] not in POOLINGS:
        raise BadArtefact(f"The folder's pooling is {str(modes[0])[:40]!r}; what can be served: {', '.join(POOLINGS)}.")
    return str(modes[0])


def _check_use(folder: Path, *, unit: bool) -> None:
    """Refuse what would make its vectors, or how they are compared, differ from what is answered here."""
    path = folder / "config_sentence_transformers.json"
    if not path.is_file():
        return
    config = _object(path)
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    if name is not None and (not isinstance(prompts, dict) or prompts.get(name) != ""):
        raise BadArtefact(
            f"The folder puts the prompt {str(name)[:40]!r} before each text, which is not done here. Set "
            f"'default_prompt_name' in {path.name} to null, and send the prompt as part of the text."
        )
    compared = config.get("similarity_fn_name")
    if compared not in (None, "cosine") and not unit:
        raise BadArtefact(
            f"The folder's vectors are compared by {str(compared)[:40]!r} and have lengths of their own; vectors have "
            "length one here."
        )


def _longest(encoder: Path) -> int:
    path = encoder / "sentence_bert_config.json"
    config = _object(path) if path.is_file() else {}
    if config.get("do_lower_case"):
        raise BadArtefact(
            f"{path.name} lowers the case of texts before the tokenizer does. Save it as part of tokenizer.json."
        )
    said = config.get("max_seq_length")
    return said if type(said) is int and said >= 8 else 0


def _object(path: Path) -> dict[str, Any]:
    found = _json(path)
    if not isinstance(found, dict):
        raise BadArtefact(f"{path.parent.name}/{path.name} is not a JSON object.")
    return found


def _list(path: Path) -> list[Any]:
    found = _json(path)
    if not isinstance(found, list):
        raise BadArtefact(f"{path.name} is not a JSON list.")
    return found


def _json(path: Path) -> Any:
    """A small file of its own; links are not followed."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_JSON:
        raise BadArtefact(f"{path.parent.name}/{path.name} is missing, a link, or too large to be a configuration.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadArtefact(f"{path.parent.name}/{path.name} is not readable JSON.") from error
