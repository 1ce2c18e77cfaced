"""Deployments: which version of a model is being served, under which names, and what became of it.

Faces: `services`, `selectors`, `models`, `errors`, `rollouts`, `outcomes`, `feedback` and `idling` (safe changes of
what a name stands for, and what is known of them); for the gateway `routes` (what a project can call), `splits` and
`shadows` (whose call a candidate gets), `pools` (engines of a deployment's own) and `requests` (the request log); for
the console `trying` (calls from its own pages), `asked` and `figures` (reading the log); `texts` (those of requests
that a project wants kept); and for staff `pins` (models that stay in the engines' memory).
"""
