"""Deployments: which version of a model is being served, under which names, and what became of it.

Faces: `services`, `selectors`, `models`, `errors`, and for the gateway `routes` (what a project can call) and
`requests` (the request log).
"""
