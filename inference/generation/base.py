"""A causal base: its tokenizer, how it is spoken to, and the way from a chat to tokens and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from inference import wire
from inference.chat import Voice, read_voice, render
from inference.errors import BadRequest, BadTools, TooLarge
from inference.generation.grammar import Grammars

MAX_CHARACTERS = 4_000_000  # in all prompts of one request


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """How texts and tokens of a base become each other."""

    tokenizer: Tokenizer
    voice: Voice
    grammars: Grammars
    pieces: list[bytes]  # what each token adds to a text; nothing for special ones

    @classmethod
    def read(cls, folder: Path, vocabulary: int) -> Speech:
        """From a base folder. Raises `BadArtefact`."""
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        voice = read_voice(folder)
        grammars = Grammars(tokenizer, list(voice.ends))
        special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        size = min(vocabulary, tokenizer.get_vocab_size())
        pieces = [b"" if number in special else grammars.bytes_of(number) for number in range(size)]
        return cls(tokenizer, voice, grammars, pieces + [b""] * (vocabulary - size))

    def tokens(self, message: wire.Render) -> list[list[int]]:
        """Each prompt, or the chat, as tokens. Raises `BadRequest` or `TooLarge`."""
        if message.chat is not None:
            return [self._chat(message.chat)]
        if not message.prompts:
            raise BadRequest("Send a prompt or a chat.")
        if sum(map(len, message.prompts)) > MAX_CHARACTERS:
            raise TooLarge(f"The prompts are over the limit of {MAX_CHARACTERS} characters together.")
        prompts = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(message.prompts)]
        return [ids or self._nothing() for ids in prompts]

    def token_text(self, token: int) -> str:
        """A token as it is shown beside its log-probability."""
        piece = self.pieces[token]
        return piece.decode(errors="replace") if piece else self.tokenizer.id_to_token(token) or ""

    def _nothing(self) -> list[int]:
        """What an empty prompt begins with: the token that begins texts, or one that ends them."""
        begin = self.voice.special.get("bos_token") or self.voice.special.get("eos_token")
        number = self.tokenizer.token_to_id(begin) if begin else None
        if number is None and self.voice.ends:
            number = self.voice.ends[0]
        if number is None:
            raise BadRequest("The prompt is empty.")
        return [number]

    def _chat(self, chat: dict[str, Any]) -> list[int]:
        messages, tools = chat.get("messages"), chat.get("tools")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("A chat needs at least one message.")
        if tools and not self.voice.tools:
            raise BadTools(
                "This model's template has no tools: the model would never see them. Leave 'tools' out, or take a "
                "model whose base was trained to call some."
            )
        text = render(
            messages, template=self.voice.template, tools=tools, add_generation_prompt=True, special=self.voice.special
        )
        if len(text) > MAX_CHARACTERS:
            raise TooLarge(f"The chat is over the limit of {MAX_CHARACTERS} characters.")
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)
