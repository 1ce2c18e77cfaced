"""What vectors are for: `/v1/embeddings` and `/v1/rerank`."""

from __future__ import annotations

from gateway.schema.base import ANSWERED, PLENTY, TEXTS, USER, path
from kit.schema import either, many, number, one_of, string, thing, truth, whole

EMBEDDINGS = path(
    "embeddings",
    "Embed texts",
    "Unit vectors of a base or of a deployed model. The official client asks for base64 and decodes it by itself. "
    "`dimensions` keeps the first numbers of each vector and brings them to length one again.",
    thing(
        "What to embed.",
        {
            "model": string("A base, a deployed model or an alias of one.", example="all-MiniLM-L6-v2"),
            "input": TEXTS,
            "encoding_format": one_of(
                "`float`, the default, gives lists of numbers; `base64` little-endian float32.", ["float", "base64"]
            ),
            "dimensions": whole(
                "How many numbers each vector shall have: 1 to the model's own size, the default.", null=True
            ),
            "user": USER,
        },
        optional=("encoding_format", "dimensions", "user"),
    ),
    thing(
        "One vector per text.",
        {
            "object": one_of("Always `list`.", ["list"]),
            "data": many(
                "Vectors, in the order of the texts.",
                thing(
                    "A vector.",
                    {
                        "object": one_of("Always `embedding`.", ["embedding"]),
                        "index": whole("The text's place in `input`, from 0."),
                        "embedding": either(
                            "The vector, as `encoding_format` asked.",
                            {"type": "array", "items": {"type": "number"}},
                            {"type": "string", "format": "byte"},
                        ),
                    },
                ),
            ),
            "model": ANSWERED,
            "usage": thing(
                "What was read and is paid for.",
                {"prompt_tokens": whole("Tokens read."), "total_tokens": whole("The same."), **PLENTY},
                optional=tuple(PLENTY),
            ),
        },
    ),
)
RERANK = path(
    "rerank",
    "Rerank documents",
    "Documents in the order of their nearness to a query: by a deployed cross-encoder, which reads both together, or "
    "else by the cosine of vectors of a base or of a deployed model; `x_method` says which. The shape is the one that "
    "Cohere's and Jina's clients know.",
    thing(
        "What to compare.",
        {
            "model": string("A base, a deployed model or an alias of one.", example="all-MiniLM-L6-v2"),
            "query": string("What the documents shall be near to.", example="where is my refund"),
            "documents": many(
                "1 to 1,000 documents, none of them empty.",
                either(
                    "A text, or an object that holds it.",
                    string("The text."),
                    thing(
                        "A document.",
                        {
                            "text": string("The text."),
                        },
                    ),
                ),
            ),
            "top_n": whole("Only this many of the nearest; all without it.", null=True, minimum=1),
            "return_documents": truth("Whether each result repeats its document."),
            "user": USER,
        },
        optional=("top_n", "return_documents", "user"),
    ),
    thing(
        "The nearest first.",
        {
            "object": one_of("Always `list`.", ["list"]),
            "model": ANSWERED,
            "results": many(
                "Documents by nearness.",
                thing(
                    "A document's nearness.",
                    {
                        "index": whole("The document's place in `documents`, from 0."),
                        "relevance_score": number("0 to 1, or the cosine of two vectors: -1 to 1."),
                        "document": thing("The document, if asked for.", {"text": string("Its text.")}),
                    },
                    optional=("document",),
                ),
            ),
            "usage": thing(
                "What was read and is paid for.",
                {"prompt_tokens": whole("Tokens read."), "total_tokens": whole("The same."), **PLENTY},
                optional=tuple(PLENTY),
            ),
            "x_method": one_of("What the scores are.", ["cosine", "cross-encoder"]),
        },
    ),
)
