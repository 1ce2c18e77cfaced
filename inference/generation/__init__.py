"""Text that is written token by token: causal bases, many tenants' adapters on them, batches that change every step.

| file | what it is |
|---|---|
| `writer` | the thread of one base: what is asked becomes steps, steps become pieces |
| `turns` | who is read and who writes next; pure Python |
| `steps` | requests, their sequences, and the steps they are computed in; pure Python |
| `paging` | which blocks of the cache hold which tokens; pure Python |
| `decoder` | the base in memory, computed by transformers' own modules over our cache (torch) |
| `attention` | attention over the blocks of a mixed batch (torch) |
| `lanes` | low-rank adapters side by side, joined and left without moving the others (torch) |
| `choosing` | logits to tokens: temperature, top-p, penalties, grammars, log-probabilities (torch) |
| `grammar` | JSON schemas and regular expressions as masks over the vocabulary |
| `fair_threads` | threads for what grammars cost, shared out between organisations |
| `text` | tokens to text: whole characters, stops held back |
| `base` | the tokenizer of a causal base, and the way from a chat to tokens |
| `causal` | all of it for one base: loading adapters, comparing serving with training |
| `seam` | what the engine asks of a causal base, whatever computes it |
| `counters` | what a base has written, for the health report |
| `vllm/` | a base that a vLLM server computes, behind the same seam; imports no torch |

The engine imports this package only where its catalogue names a causal base: torch and transformers come with `causal`.
"""
