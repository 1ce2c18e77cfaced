"""A causal base that a vLLM server computes, behind the same face as our own decoder (`generation.seam`).

The engine stays what every caller talks to: it renders prompts, cuts what is written into allowances, turns tokens into
text, stops at stops, and decides whose turn it is. The server gets tokens and gives tokens, over its OpenAI wire.

| file | what it is |
|---|---|
| `base` | a base: its tokenizer, its adapters, its server |
| `writing` | one request: an allowance at a time, tokens to pieces |
| `segments` | what the server is asked for the next part of a text; pure Python |
| `places` | how many texts the server has at a time, and whose is next; asyncio, no clock |
| `shelf` | tenants' adapters as folders that the server reads, the least recently used going first |
| `door` | HTTP to the server, and its refusals in our words |
| `child` | the server as a process of the engine's: started, watched, started again, stopped |

vLLM itself is never imported: it lives in an environment of its own.
"""
