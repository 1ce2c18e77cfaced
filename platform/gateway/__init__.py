"""The /v1 hot path: decisions, classify, embeddings, chat and completions.

A raw ASGI application. A warm call is: a dictionary look-up for the key, one for the model, one quota call, one hop to
the engine, one line in the local usage file. It touches no PostgreSQL and none of Django's middleware.

Faces: `app.in_front_of` (the gateway before another ASGI application), `asgi.application` (the gateway alone),
`schema.PATHS` (its part of the OpenAPI document).
"""
