"""Fine-tuning jobs and the lab.

Faces: `services`, `selectors`, `models`, `errors` and `states` (which may follow which; Django-free). `training.lab` is
the recipes' own package, Django-free as well.
"""
