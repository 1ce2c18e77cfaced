"""The machine: encoders, adapters, heads and batches, in a process of its own that knows no Django.

One base model stands in memory once and serves every tenant: heads are applied per row after it, LoRA adapters per row
inside it, and only full fine-tunes bring weights of their own. `README.md` here tells the life of a request.

What other rooms may import: `wire` (messages), `client` (asyncio and blocking clients), `errors`, `catalogue`,
`architecture` and `artefact`. None of these imports torch or openvino; the process itself is started with
`python -m inference`. The lab, which runs on torch anyway, also imports `hub`.
"""
