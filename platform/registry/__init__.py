"""What was made, and from what: bases, models, versions, aliases, artefacts, lineage.

Faces: `services`, `selectors`, `models`, `errors`, `bases` (the catalogue; Django-free but for its setting),
`importing` (models that were trained elsewhere), `names` (of models and aliases; Django-free) and `artefacts` (what an
artefact folder must look like; Django-free).

    training   publishes:  artefact_store(...) outside, model_publish(...) inside its closing transaction
    serving    asks:       model_version_by_name(...), artefact_place(version); tells: model_serving_set(...)
"""
