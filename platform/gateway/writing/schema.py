"""What chat and completions read and answer, field by field, for the API reference."""

from __future__ import annotations

from gateway.writing.bodies import MAX_BIASES, MAX_CHOICES, MAX_MESSAGES, MAX_OUTPUT, MAX_PATTERN, MAX_STOPS, MAX_TOOLS
from gateway.writing.wishes import DEFAULT_OUTPUT, METADATA_PAIRS
from kit.schema import Schema, either, many, mapping, moment, number, one_of, string, thing, truth, whole

FINISH = ("stop", "length", "tool_calls", "budget")
_COMMON: dict[str, Schema] = {
    "model": string(
        "A deployed model that writes text, an alias of one, or a base that does.",
        example="ft:SmolLM2-135M-Instruct:acme:replies:dw7z90zk",
    ),
    "max_tokens": whole(
        f"Tokens written at most for each text. Without it: what the context leaves, up to {DEFAULT_OUTPUT:,}. More "
        "than fits the context is cut to what fits.",
        null=True,
        minimum=1,
        maximum=MAX_OUTPUT,
    ),
    "temperature": number("0 takes the likeliest token each time; 1 by default.", null=True, minimum=0, maximum=2),
    "top_p": number("Only the likeliest tokens with this much probability; 1 by default.", null=True, maximum=1),
    "n": whole(f"Texts to write, 1 by default; with all prompts at most {MAX_CHOICES}.", null=True, minimum=1),
    "stop": either(
        f"Where to end, a text or up to {MAX_STOPS}; not part of the answer.",
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "maxItems": MAX_STOPS},
        nullable=True,
    ),
    "seed": whole("The same seed and request give the same text on the same engine.", null=True),
    "stream": truth("Server-sent events, a chunk for each piece, `[DONE]` at the end.", null=True),
    "stream_options": thing(
        "With `stream` only.",
        {
            "include_usage": truth("A last chunk without choices holds the usage and `x_cost_usd`.", null=True),
            "include_obfuscation": truth("False; streams are not obfuscated.", null=True),
        },
        null=True,
        optional=("include_usage", "include_obfuscation"),
    ),
    "frequency_penalty": number("Against repeating, by how often.", null=True, minimum=-2, maximum=2),
    "presence_penalty": number("Against repeating, at all.", null=True, minimum=-2, maximum=2),
    "logit_bias": mapping(
        f"Token numbers of this model, each with -100 to 100; at most {MAX_BIASES:,}.",
        {"type": "number", "minimum": -100, "maximum": 100},
        null=True,
        maxProperties=MAX_BIASES,
    ),
    "user": string(
        "A name of your own for your user: while a rollout runs, the same user stays on the same side of it.",
        null=True,
        maxLength=256,
    ),
    "x_regex": string(
        "The whole text matches this regular expression.", null=True, maxLength=MAX_PATTERN, example="(yes|no)"
    ),
}
_PART = thing(
    "A part: text only.",
    {
        "type": one_of("Its kind.", ["text", "refusal"]),
        "text": string("A text part's text."),
        "prompt_cache_breakpoint": mapping("A hint for a cache: taken, changes nothing.", null=True),
        "refusal": string("A refusal part's text."),
    },
    optional=("text", "refusal", "prompt_cache_breakpoint"),
)
_FUNCTION_CALL = thing(
    "The function.", {"name": string("Its name."), "arguments": string("Its arguments, as JSON the model wrote.")}
)
_TOOL_CALL = thing(
    "A call of a tool.",
    {"id": string("Its id."), "type": one_of("Its kind.", ["function"]), "function": _FUNCTION_CALL},
    optional=("type",),
)
_MESSAGE = thing(
    "A message.",
    {
        "role": one_of("Who speaks.", ["developer", "system", "user", "assistant", "tool", "function"]),
        "content": either(
            "What is said: a text, or parts of text; images, audio and files are refused.",
            {"type": "string"},
            {"type": "array", "items": _PART},
            nullable=True,
        ),
        "name": string("A name for the speaker.", null=True, maxLength=256),
        "tool_calls": many("An assistant's calls.", _TOOL_CALL, null=True),
        "tool_call_id": string("Of role tool: which call this answers.", null=True),
        "refusal": string("An assistant's refusal.", null=True),
        "annotations": many("Of an earlier answer: taken, changes nothing.", mapping("A note."), null=True),
    },
    optional=("content", "name", "tool_calls", "tool_call_id", "refusal", "annotations"),
)
_TOOL = thing(
    "A tool.",
    {
        "type": one_of("Its kind.", ["function"]),
        "function": thing(
            "A function.",
            {
                "name": string("Its name.", maxLength=64),
                "description": string("What it does, for the model.", null=True),
                "parameters": mapping("JSON schema of its arguments.", null=True),
                "strict": truth("A call whose arguments do not fit the schema stays text.", null=True),
            },
            optional=("description", "parameters", "strict"),
        ),
    },
)
_FORMAT = thing(
    "The form of the answer.",
    {
        "type": one_of("Text, any JSON object, or JSON by a schema.", ["text", "json_object", "json_schema"]),
        "json_schema": thing(
            "The schema.",
            {
                "name": string("Its name.", maxLength=64),
                "schema": mapping("The JSON schema."),
                "description": string("For people who read the call.", null=True),
                "strict": truth("Taken; the schema always holds.", null=True),
            },
            optional=("description", "strict"),
        ),
    },
    null=True,
    optional=("json_schema",),
)
_CHOICE = either(
    "`auto`, the default with tools; `none`; `required`; or the one function that must be called.",
    {"type": "string", "enum": ["none", "auto", "required"]},
    thing(
        "A function.",
        {
            "type": one_of("Its kind.", ["function"]),
            "function": thing("Which.", {"name": string("Its name.")}),
        },
    ),
    nullable=True,
)
_CHAT_FIELDS: dict[str, Schema] = {
    **_COMMON,
    "messages": many(
        "The conversation; it goes through the base's chat template.",
        _MESSAGE,
        minItems=1,
        maxItems=MAX_MESSAGES,
        example=[{"role": "user", "content": "Where is my refund?"}],
    ),
    "max_completion_tokens": whole("The new name of `max_tokens`.", null=True, minimum=1, maximum=MAX_OUTPUT),
    "logprobs": truth("Report how likely each token was.", null=True),
    "top_logprobs": whole("And so many others that were likely, 0 to 20.", null=True, minimum=0, maximum=20),
    "response_format": _FORMAT,
    "tools": many(
        f"Functions the model may call, at most {MAX_TOOLS}. Refused where its chat template has none.",
        _TOOL,
        null=True,
        maxItems=MAX_TOOLS,
    ),
    "tool_choice": _CHOICE,
    "parallel_tool_calls": truth("False keeps the first call of an answer only.", null=True),
    "metadata": mapping(f"Up to {METADATA_PAIRS} pairs; comes back with the answer.", {"type": "string"}, null=True),
    "store": truth("False; nothing is stored.", null=True),
    "service_tier": one_of("There is one tier.", ["auto", "default"], null=True),
    "modalities": many("`text` only.", one_of("A kind.", ["text"]), null=True),
    "safety_identifier": string("Stands for `user` where that is not sent.", null=True, maxLength=128),
    "prompt_cache_key": string(
        "Stands for `user` where neither that nor `safety_identifier` is sent.", null=True, maxLength=256
    ),
    "prompt_cache_options": mapping("A hint for a cache: taken, changes nothing.", null=True),
    "prompt_cache_retention": string("A hint for a cache: taken, changes nothing.", null=True, maxLength=256),
}
CHAT_BODY = thing(
    "What to answer.", _CHAT_FIELDS, optional=[name for name in _CHAT_FIELDS if name not in ("model", "messages")]
)
_COMPLETION_FIELDS: dict[str, Schema] = {
    **_COMMON,
    "prompt": either(
        f"A text, or a list of up to {MAX_CHOICES}; they go to the model as they stand. Token numbers are refused.",
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_CHOICES},
        example="Once upon a time",
    ),
    "logprobs": whole("Report how likely each token was, and so many others.", null=True, minimum=0, maximum=20),
    "echo": truth("Begin each text with its prompt.", null=True),
    "best_of": whole("The same as `n`, or nothing.", null=True),
    "suffix": string("Empty, or nothing.", null=True),
}
COMPLETION_BODY = thing(
    "What to continue.",
    _COMPLETION_FIELDS,
    optional=[name for name in _COMPLETION_FIELDS if name not in ("model", "prompt")],
)
_TOKEN_FIELDS: dict[str, Schema] = {
    "token": string("Its text."),
    "logprob": number("Natural logarithm of its probability; -9999 for none at all."),
    "bytes": many("Its bytes, which may be part of a character.", whole("A byte.")),
}
_LOGPROBS = thing(
    "How likely the tokens were.",
    {
        "content": many(
            "Token by token.",
            thing(
                "A token.",
                {**_TOKEN_FIELDS, "top_logprobs": many("Others that were likely.", thing("One.", _TOKEN_FIELDS))},
            ),
        ),
        "refusal": many("Always null.", whole("Nothing."), null=True),
    },
    null=True,
)
_USAGE = thing(
    "What was read and written, and is paid for.",
    {
        "prompt_tokens": whole("Tokens read."),
        "completion_tokens": whole("Tokens written, over all choices."),
        "total_tokens": whole("Their sum."),
        "prompt_tokens_details": thing(
            "Of those read.",
            {"cached_tokens": whole("Found in the engine's cache."), "audio_tokens": whole("Always 0.")},
        ),
        "completion_tokens_details": thing(
            "Of those written.",
            {
                "reasoning_tokens": whole("Always 0."),
                "audio_tokens": whole("Always 0."),
                "accepted_prediction_tokens": whole("Always 0."),
                "rejected_prediction_tokens": whole("Always 0."),
            },
        ),
        "x_cost_usd": number("In a stream: what the call cost. Other answers say it in the header `x-cost-usd`."),
    },
    optional=("x_cost_usd",),
)
_REASON = one_of(
    "Why it ended: `stop`, by itself or at a stop text; `length`, at its maximum of tokens; `tool_calls`, to call; "
    "`budget`, where a limit or spend limit carries no more.",
    FINISH,
)
CHAT_ANSWER = thing(
    "The answer.",
    {
        "id": string("Its id."),
        "object": one_of("Always `chat.completion`.", ["chat.completion"]),
        "created": moment("When it was asked."),
        "model": string("The model that answered."),
        "service_tier": one_of("Always `default`.", ["default"]),
        "choices": many(
            "One per text.",
            thing(
                "A choice.",
                {
                    "index": whole("Its place, from 0."),
                    "message": thing(
                        "The message.",
                        {
                            "role": one_of("Always `assistant`.", ["assistant"]),
                            "content": string("The text; null where there are calls only.", null=True),
                            "refusal": string("Always null.", null=True),
                            "tool_calls": many("Calls of tools; absent where there are none.", _TOOL_CALL),
                        },
                        optional=("tool_calls",),
                    ),
                    "finish_reason": _REASON,
                    "logprobs": _LOGPROBS,
                },
            ),
        ),
        "usage": _USAGE,
        "metadata": mapping("Yours, where you sent some.", {"type": "string"}),
    },
    optional=("metadata",),
)
COMPLETION_ANSWER = thing(
    "The answer.",
    {
        "id": string("Its id."),
        "object": one_of("Always `text_completion`.", ["text_completion"]),
        "created": moment("When it was asked."),
        "model": string("The model that answered."),
        "choices": many(
            "One per prompt and text: those of the first prompt first.",
            thing(
                "A choice.",
                {
                    "index": whole("Its place, from 0."),
                    "text": string("What was written; after the prompt, if it is echoed."),
                    "finish_reason": _REASON,
                    "logprobs": thing(
                        "How likely the tokens were.",
                        {
                            "tokens": many("The tokens.", string("A token.")),
                            "token_logprobs": many("How likely each was.", number("A logarithm.")),
                            "top_logprobs": many("Others that were likely.", mapping("By token.", {"type": "number"})),
                            "text_offset": many("Where each begins in the text.", whole("Characters.")),
                        },
                        null=True,
                    ),
                },
            ),
        ),
        "usage": _USAGE,
    },
)
