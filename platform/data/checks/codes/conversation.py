"""What can be wrong with conversations and with prompt and completion pairs."""

from __future__ import annotations

from data.checks.codes.registry import BLOCKING, CHAT_SHAPE, PAIR_SHAPE, WARNING, entry

entry(
    "missing_messages",
    BLOCKING,
    "No messages",
    "%(count)s rows have no list of messages.",
    "Give each row a non-empty list, or drop these rows.",
    expected=CHAT_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "bad_message",
    BLOCKING,
    "Message of the wrong shape",
    "%(count)s rows have a message without role or content.",
    "Each message needs a role and content (or tool calls).",
    expected=CHAT_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "unknown_role",
    BLOCKING,
    "Unknown role",
    "%(count)s rows have a role such as “%(role)s”.",
    "Use system, developer, user, assistant or tool.",
    expected=CHAT_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "unknown_message_key",
    WARNING,
    "Unknown key in a message",
    "%(count)s rows have a key such as “%(name)s” in a message.",
    "Remove it: it would be ignored.",
    expected=CHAT_SHAPE,
)
entry(
    "no_assistant",
    BLOCKING,
    "Nothing to learn",
    "%(count)s rows have no message from the assistant.",
    "End each conversation with the answer the model should give.",
    expected=CHAT_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "no_weight",
    BLOCKING,
    "Every answer left out",
    "%(count)s rows have weight 0 on every message of the assistant.",
    "Take the weight off the answers that are to be learned from, or drop these rows.",
    expected=CHAT_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "last_not_assistant",
    WARNING,
    "Does not end with the assistant",
    "%(count)s rows end with another role.",
    "What follows the last answer is not learned from.",
    expected=CHAT_SHAPE,
)
entry(
    "role_order",
    WARNING,
    "Unusual order of roles",
    "%(count)s rows repeat a role or put the system message late.",
    "Start with system (optional), then take turns: user, assistant.",
    expected=CHAT_SHAPE,
)
entry(
    "empty_message",
    BLOCKING,
    "Empty message",
    "%(count)s rows have an empty message.",
    "Fill it in, or drop these rows.",
    expected=CHAT_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "bad_weight",
    BLOCKING,
    "Weight is not 0 or 1",
    "%(count)s rows have a weight other than 0 or 1, or not on the assistant.",
    "Use 0 or 1, on assistant messages only.",
    fix="drop_bad_rows",
)
entry(
    "bad_tool_call",
    BLOCKING,
    "Broken tool call",
    "%(count)s rows have a tool call without id, name or valid JSON arguments, or an answer to an unknown call.",
    "Give each call an id, a function name and arguments as a JSON string; answer with the same tool_call_id.",
    fix="drop_bad_rows",
)
entry(
    "empty_prompt",
    BLOCKING,
    "Empty prompt",
    "%(count)s rows have no prompt.",
    "Fill it in, or drop these rows.",
    expected=PAIR_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "empty_completion",
    BLOCKING,
    "Empty completion",
    "%(count)s rows have no completion.",
    "Fill it in, or drop these rows.",
    expected=PAIR_SHAPE,
    fix="drop_bad_rows",
)
entry(
    "prompt_echo",
    WARNING,
    "Answer repeats the question",
    "%(count)s rows have an answer equal to its prompt.",
    "The model would learn to repeat. Check these rows.",
)
entry(
    "bad_tools",
    BLOCKING,
    "Broken list of tools",
    "%(count)s rows have tools that are not a list of functions with a name.",
    "Give each tool a type and a function with a name, as in the call to the model, or drop these rows.",
    expected='{"tools": [{"type": "function", "function": {"name": "…", "parameters": {…}}}], "messages": […]}',
    fix="drop_bad_rows",
)
entry(
    "missing_prompt_column",
    BLOCKING,
    "No prompt column",
    "No column was found for the prompt. The file has: %(columns)s.",
    "Choose the prompt column, or rename it to prompt.",
    expected=PAIR_SHAPE,
)
entry(
    "missing_completion_column",
    BLOCKING,
    "No completion column",
    "No column was found for the completion. The file has: %(columns)s.",
    "Choose the completion column, or rename it to completion.",
    expected=PAIR_SHAPE,
)
entry(
    "duplicate_examples",
    WARNING,
    "Duplicates",
    "%(count)s rows repeat an earlier row.",
    "Drop them. Until then copies stay on one side of the split, so results are not flattered.",
    fix="drop_duplicates",
)
