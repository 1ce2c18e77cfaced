"""Fine-tuning jobs and the lab.

Faces: `services`, `selectors`, `models`, `errors`; `training.lab` is the recipes' own, Django-free package.
"""
