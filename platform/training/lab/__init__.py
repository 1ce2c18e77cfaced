"""The lab: recipes that turn a dataset version and a base into an artefact, without Django.

Run one alone with `python -m training.lab CONFIG.json` (`platform` on PYTHONPATH). The file formats, the event
lines and the exit codes are the contract with the room `training`, which runs the lab as a subprocess:

    config.py               what a run is told (one dataclass, checked by itself)
    plan.py                 what "auto" means for this data and method
    text_classification.py text_generation.py   the recipes, as numbered phases
    shape.py bodies.py model.py hub_encoder.py lora.py   the encoder: our own BERT, or any other through transformers
    dialogues.py causal.py  the same for a model that writes: rows to marked tokens, a decoder with adapters
    data.py learners.py optimise.py loop.py device.py randomness.py    the other parts it is made of
    group.py together.py                several runs over one base in one process, and the pass that they share
    baseline.py calibration.py          the floor beside it, and honest confidences
    files.py checkpoint.py artefact.py  what is written: safetensors and JSON only
    events.py errors.py                 what is said on stdout, and the exit codes
    estimate.py                         seconds and tokens before the run (imports no torch)

`python -m training.lab A.json B.json …` trains several LoRA runs over one base side by side; each ends as if alone.

To add a recipe: a module with `run(config, emit, stop)`, its task in `config.TASKS`, its defaults in `plan.py`, its
FLOP in `estimate.py`, and tests that run it through `python -m training.lab`.

Nothing here imports Django, reaches the network, or unpickles anything.
"""
