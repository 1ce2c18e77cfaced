"""The least that can serve the same model: one ASGI function, a compute thread for each lane, no keys, no metering.

The yardstick of `serving.py`: same backend, same tokenizer, same answer; a batch is whatever waits. Started by it with
the artefact's folder in BARE_ARTEFACT.
"""

import asyncio
import json
import os
import queue
import threading
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from inference.backends import choose
from inference.catalogue import DEFAULT_BASE, bases
from inference.geometry import Geometry

base, artefact = bases()[DEFAULT_BASE], Path(os.environ["BARE_ARTEFACT"])
labels = json.loads((artefact / "artefact.json").read_text())["labels"]
head = load_file(artefact / "head.safetensors")
tokenizer = Tokenizer.from_file(str(base.folder / "tokenizer.json"))
tokenizer.enable_truncation(256)
tokenizer.enable_padding()
backend = choose("openvino", device="cpu", precision="auto")
geometry = Geometry.read(base.folder / "config.json")
encoder = backend.encoder(load_file(base.folder / "model.safetensors"), geometry, adapters=False)
waiting: queue.SimpleQueue = queue.SimpleQueue()


def compute() -> None:
    while True:
        batch = [waiting.get()]
        while len(batch) < 64 and not waiting.empty():
            batch.append(waiting.get())
        encodings = tokenizer.encode_batch_fast([text for text, _, _ in batch])
        ids = np.array([e.ids for e in encodings], np.int32)
        mask = np.array([e.attention_mask for e in encodings], np.float32)
        logits = encoder.encode(ids, mask, None) @ head["weight"].T + head["bias"]
        rows = np.exp(logits - logits.max(1, keepdims=True))
        rows /= rows.sum(1, keepdims=True)
        for (_, future, loop), row in zip(batch, rows, strict=True):
            loop.call_soon_threadsafe(future.set_result, row)


for _ in range(backend.lanes):
    threading.Thread(target=compute, daemon=True).start()


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    answer = {"status": "ok"}
    if body:
        future = asyncio.get_running_loop().create_future()
        waiting.put((json.loads(body)["input"], future, asyncio.get_running_loop()))
        row = await future
        ranked = [{"label": labels[i], "probability": round(float(row[i]), 6)} for i in np.argsort(-row)]
        answer = {"data": [{"index": 0, "label": ranked[0]["label"], "probabilities": ranked}]}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
