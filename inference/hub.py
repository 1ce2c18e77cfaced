"""Any encoder that `transformers` knows, from a local folder of safetensors: the general path beside our own BERT.

The lab trains and the engine serves through the functions here, so that both mean the same model by the same folder.
Nothing is fetched, no code of a model is run, no pickle is read. `transformers` takes seconds to import and is imported
on the first call only: a process that meets nothing but BERT never pays for it.

Shapes: B texts, L tokens, H hidden size.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.architecture import Architecture, read_architecture
from inference.errors import BadArtefact

_IN_A_LAYER = re.compile(r"\.\d+\.")  # a path through a list of layers
_REFUSALS = (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, ImportError)


def load(folder: Path) -> nn.Module:
    """The base in a folder, in fp32, set to evaluate, without a pooler. Raises `BadArtefact` saying what is wrong."""
    architecture = read_architecture(folder)
    model, missing = _load(folder, architecture, "AutoModel")
    missing = [key for key in missing if not key.startswith("pooler.")]
    if missing:
        raise BadArtefact(f"The base's model.safetensors lacks weights of {architecture.name}: {missing[:5]}.")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # the mean of the tokens is the vector; a pooler would only take memory
    _probe(model, architecture)
    return model.eval()


def load_causal(folder: Path) -> nn.Module:
    """The causal base in a folder, in fp32, set to evaluate. Raises `BadArtefact` saying what is wrong."""
    architecture = read_architecture(folder)
    if not architecture.causal:
        raise BadArtefact(f"The base ({architecture.name}) is an encoder: it reads text and writes none.")
    model, missing = _load(folder, architecture, "AutoModelForCausalLM")
    if missing:
        raise BadArtefact(f"The base's model.safetensors lacks weights of {architecture.name}: {missing[:5]}.")
    return model.eval()


def _load(folder: Path, architecture: Architecture, kind: str) -> tuple[Any, list[str]]:
    """A model of the library's class `kind`, and the weights that its file lacks."""
    name = architecture.name
    if (folder / "adapter_config.json").exists():
        raise BadArtefact("The base folder holds an adapter beside the weights; merge it into model.safetensors first.")
    transformers = library()
    given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), **given)
        maker = getattr(transformers, kind)
        made = maker._model_mapping[type(config)]
        model, facts = maker.from_pretrained(
            str(folder),
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="sdpa" if getattr(made, "_supports_sdpa", False) else "eager",
            output_loading_info=True,
            **given,
        )
    except Exception as error:  # a model file can be wrong in as many ways as the library has checks
        said = (str(error).strip() or type(error).__name__).splitlines()[0].replace(str(folder), "the folder")
        raise BadArtefact(f"transformers cannot load the base ({name}): {said[:300]}") from error
    return model, sorted(facts["missing_keys"])


def pooled(
    model: nn.Module, ids: Tensor, mask: Tensor | None, call: Callable[..., Any] | None = None,
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """ids [B, L] and a mask of real tokens [B, L] (None: all are) -> the mean of their vectors in fp32, [B, H].

    `call` computes in the model's place, for instance with other weights; `weight` [B, L] is what each token counts
    for, if not all the same.
    """
    found = states(model, ids, mask, call)
    seen = torch.ones_like(ids) if mask is None else mask.bool()
    counts = (seen if weight is None else weight)[:, :, None].to(found.dtype)
    return (found * counts).sum(dim=1) / counts.sum(dim=1)


def states(
    model: nn.Module, ids: Tensor, mask: Tensor | None, call: Callable[..., Any] | None = None,
    types: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """As `pooled`, every token's vector, [B, L, H]. `types` [B, L], which text of a pair each token belongs to, is
    passed on where the model tells them apart."""
    seen = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    config: Any = model.config
    padding = getattr(config, "pad_token_id", None)
    ids = ids.masked_fill(~seen, padding if isinstance(padding, int) and 0 <= padding < config.vocab_size else 0)
    told = {} if types is None or getattr(config, "type_vocab_size", 0) < 2 else {"token_type_ids": types}
    found: Tensor = (call or model)(input_ids=ids, attention_mask=seen.long(), **told).last_hidden_state.float()
    return found


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's numbers by their Hugging Face names: what `encoder.safetensors` holds."""
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers inside the encoder's layers, by module path: what an adapter may change."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _IN_A_LAYER.search(f".{name}.")
    }


def _probe(model: nn.Module, architecture: Architecture) -> None:
    """Four tokens through the model: does it read ids, and give the vectors that its config.json promises?"""
    name = architecture.name
    for path, module in model.named_modules():
        if path.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            reach = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if reach < architecture.positions:
                raise BadArtefact(
                    f"The base ({name}) reads {reach} tokens, but {architecture.positions} were expected."
                )
    try:
        with torch.inference_mode():
            vectors = pooled(model.eval(), torch.zeros(1, 4, dtype=torch.long), None)
    except _REFUSALS as error:
        raise BadArtefact(f"The base ({name}) does not turn token ids into vectors, so it cannot be used.") from error
    if vectors.shape != (1, architecture.hidden) or not bool(torch.isfinite(vectors).all()):
        raise BadArtefact(f"The base ({name}) does not give finite vectors of {architecture.hidden} numbers.")


@functools.cache
def library() -> Any:
    """transformers, offline and quiet."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    found = importlib.import_module("transformers")
    found.logging.set_verbosity_error()
    found.logging.disable_progress_bar()
    return found
