"""Who is read and who writes next. Pure Python: knows no tensors, no threads, no clock.

A step is one of two kinds. A *reading* step takes prompts, or parts of long ones, up to a number of tokens. A *writing*
step adds one token to every sequence that is ready. The two take turns while both are wanted, so that a long prompt
never stops the others' texts for longer than one part of it.

Whose prompt is read next is decided by what each tenant has received for its weight (tokens read, and twice the tokens
written, as in the VTC scheduler of S-LoRA, Sheng et al. 2024); a tenant that was away starts level with those present.
Everybody's queue is bounded, so a flood from one tenant fills its own queue and no other; and whoever has more than its
share of what runs gives one back to a tenant that waits with less.

What may wait (`Request.background`) is read and written only in steps that nothing else wants, and in one of `SHARE`
beside the others, so that it goes on while calls come without end.

When the cache is full, the sequence that began last gives its blocks back, waits in front of its tenant's queue and is
read again, with what it had already written; nobody sees more of it than a pause.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from inference.errors import Overloaded, TooLarge
from inference.generation.paging import BLOCK, Blocks
from inference.generation.steps import Part, Request, Sequence, Step

WRITTEN = 2.0  # a written token costs as much as two that are read
SHARE = 16  # steps; one of so many takes what may wait as well


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds: sequences (`rows`) and tokens."""

    rows: int = 64  # that are read and written at the same time
    step_tokens: int = 512  # that one reading step takes
    lanes: int = 512  # of all adapters that run at the same time; a multiple of `inference.adapters.LANES`
    waiting_per_tenant: int = 256
    waiting: int = 2048


@dataclass(slots=True)
class _Queue:
    """The waiting sequences of one tenant."""

    tenant: str
    sequences: deque[Sequence] = field(default_factory=deque)


class Turns:
    """Bounded queues, running sequences, and the choice of the next step. Not thread-safe: the caller holds a lock."""

    def __init__(self, blocks: Blocks, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.blocks = blocks
        self.running: list[Sequence] = []
        self.preempted = 0
        self.refused = 0
        self._queues: dict[str, _Queue] = {}
        self._received: dict[str, float] = {}
        self._wrote = False  # the last step's kind
        self._steps = 0
        self._everybody = True  # whether the step that is being chosen may take what may wait

    @property
    def waiting(self) -> int:
        """Sequences that have not begun."""
        return sum(len(queue.sequences) for queue in self._queues.values())

    def submit(self, request: Request) -> None:
        """Queue all choices of a request, or none. Raises `Overloaded` or `TooLarge` at the door."""
        self._admit(request)
        queue = self._queues.get(request.tenant)
        if queue is None:
            queue = self._queues[request.tenant] = _Queue(request.tenant)
            present = [self._received[t] for t in self._present() if t in self._received]
            self._received[request.tenant] = max(self._received.get(request.tenant, 0.0), min(present, default=0.0))
        queue.sequences.extend(request.sequences)

    def cancel(self, request: Request) -> None:
        """Forget a request: what waits leaves the queue, what runs gives its blocks back."""
        request.cancelled = True
        for sequence in request.sequences:
            if sequence in self.running:
                self.end(sequence, "cancelled")
        queue = self._queues.get(request.tenant)
        if queue is not None:
            queue.sequences = deque(s for s in queue.sequences if s.request is not request)
            self._leave(queue)

    def end(self, sequence: Sequence, finish: str) -> None:
        """A running sequence has ended."""
        sequence.finish = finish
        self.running.remove(sequence)
        self._give_back(sequence)

    def next_step(self) -> Step | None:
        """What to compute now; None while nothing can be (nothing is there, or all wait for an allowance)."""
        self._steps += 1
        self._everybody = self._steps % SHARE == 0
        step = self._choose()
        if step is None and not self._everybody:
            self._everybody = True
            step = self._choose()
        return step

    def _choose(self) -> Step | None:
        """A step of those that may be in it."""
        kinds = (self._reading, self._writing) if self._wrote else (self._writing, self._reading)
        if not any(s.pending == 1 and s.computed and self._may(s) for s in self.running):
            kinds = (self._reading, self._writing)
        for kind in kinds:
            step = kind()
            if step is not None:
                self._wrote = step.writing
                return step
        return None

    def paused(self) -> list[Sequence]:
        """Running and waiting sequences whose request has used up what it was allowed so far."""
        return [s for s in [*self.running, *self.queued()] if not s.request.left]

    def queued(self) -> list[Sequence]:
        """Sequences that wait to begin, or to begin again."""
        return [s for queue in self._queues.values() for s in queue.sequences]

    def drop(self, sequence: Sequence, finish: str) -> None:
        """End a sequence wherever it is."""
        if sequence in self.running:
            self.end(sequence, finish)
            return
        sequence.finish = finish
        queue = self._queues[sequence.request.tenant]
        queue.sequences.remove(sequence)
        self._leave(queue)

    def computed(self, step: Step) -> None:
        """A step was computed: its tokens are in the cache, and count for their tenants."""
        for part in step.parts:
            sequence = part.sequence
            if sequence.finish:
                continue  # ended meanwhile
            self.blocks.remember(sequence.request.owner, sequence.tokens, sequence.table, part.begin, part.end)
            sequence.computed = part.end
            cost = WRITTEN if step.writing else part.end - part.begin
            self._received[sequence.request.tenant] = (
                self._received.get(sequence.request.tenant, 0.0) + cost / sequence.request.weight
            )

    def write(self, sequence: Sequence, token: int) -> None:
        """The token that was chosen for a sequence."""
        sequence.tokens.append(token)
        sequence.request.used += 1

    def _admit(self, request: Request) -> None:
        longest = max(s.prompt + s.most for s in request.sequences)
        room = self.blocks.count * BLOCK
        if longest > room:
            raise TooLarge(f"Prompt and output of {longest} tokens do not fit the cache of {room} tokens.")
        queue = self._queues.get(request.tenant)
        mine = len(queue.sequences) if queue is not None else 0
        if mine and mine + len(request.sequences) > self.limits.waiting_per_tenant:
            self.refused += 1
            raise Overloaded("Too many of your requests are waiting; send the next ones later.", retry_after=2.0)
        if self.waiting and self.waiting + len(request.sequences) > self.limits.waiting:
            self.refused += 1
            raise Overloaded("The engine is busy; try again shortly.", retry_after=2.0)

    def _may(self, sequence: Sequence) -> bool:
        """Whether a sequence may be in the step that is being chosen."""
        return self._everybody or not sequence.request.background

    def _writing(self) -> Step | None:
        """One token for every sequence that is ready and allowed."""
        parts: list[Part] = []
        given: dict[Request, int] = {}
        for sequence in list(self.running):
            if sequence.pending != 1 or not sequence.computed or sequence.held or not self._may(sequence):
                continue
            request = sequence.request
            if given.get(request, 0) >= request.left or sequence not in self.running:
                continue
            if not self._make_room(sequence, sequence.computed + 1, among=parts):
                continue
            given[request] = given.get(request, 0) + 1
            parts.append(Part(sequence, sequence.computed, sequence.computed + 1, sequence.table))
        return Step(True, parts) if parts else None

    def _reading(self) -> Step | None:
        """Prompts: those that have begun, then those whose turn it is."""
        parts: list[Part] = []
        left = self.limits.step_tokens
        given: dict[Request, int] = {}
        for sequence in self._to_read(parts):
            request = sequence.request
            if given.get(request, 0) >= request.left:
                continue
            end = min(len(sequence.tokens), sequence.computed + left)
            end = min(end, (len(sequence.table) + self.blocks.free) * BLOCK)
            if end <= sequence.computed:
                break
            self._extend(sequence, end)
            part = Part(sequence, sequence.computed, end, sequence.table)
            given[request] = given.get(request, 0) + part.ends
            parts.append(part)
            left -= end - sequence.computed
            if left <= 0:
                break
        return Step(False, parts) if parts else None

    def _to_read(self, taken: list[Part]) -> Iterator[Sequence]:
        """Sequences with a prompt to read, begun ones first; those that begin now are moved among the running. What the
        step has `taken` already keeps its place."""
        for sequence in list(self.running):
            if (sequence.pending > 1 or not sequence.computed) and not sequence.held and self._may(sequence):
                yield sequence
        while (following := self._next_to_begin()) is not None and self._room_for(following, taken):
            sequence, request = following, following.request
            queue = self._queues[request.tenant]
            queue.sequences.remove(sequence)
            self._leave(queue)
            sequence.table = self.blocks.share(request.owner, sequence.tokens)
            sequence.computed = len(sequence.table) * BLOCK
            if not sequence.written:
                request.cached = max(request.cached, sequence.computed)
            self.running.append(sequence)
            yield sequence

    def _next_to_begin(self) -> Sequence | None:
        """The first sequence that may write something, of the tenant that has received least; what may wait last."""
        busy = Counter(s.request for s in self.running)
        waiting = [queue for queue in self._queues.values() if self._may(queue.sequences[0])]
        for queue in sorted(waiting, key=self._place):
            for sequence in queue.sequences:
                if sequence.request.left > busy[sequence.request] and not sequence.held:
                    return sequence
        return None

    def _place(self, queue: _Queue) -> tuple[bool, float]:
        """Where a tenant stands among those that wait: a line holds either what may wait, or none of it."""
        return queue.sequences[0].request.background, self._received.get(queue.tenant, 0.0)

    def _room_for(self, sequence: Sequence, taken: list[Part]) -> bool:
        """Whether a sequence can begin now: a row, blocks for all of its prompt, lanes for its adapter. Who waits for
        an allowance gives its place; so does the newest of a tenant that would still have more than this one's. What
        may wait takes places of its kind only."""
        while self.running and not (len(self.running) < self.limits.rows and self._fits(sequence)):
            busy, low = {part.sequence for part in taken}, sequence.request.background
            able = [s for s in reversed(self.running) if s not in busy and s.request.background >= low]
            victim = next((s for s in able if not s.request.left), None) or self._in_excess(sequence, able)
            if victim is None:
                return False
            self._preempt(victim)
        return True

    def _in_excess(self, sequence: Sequence, able: list[Sequence]) -> Sequence | None:
        """The newest `able` sequence of the tenant with the most rows for its weight, if this one's has fewer even with
        one more; what may wait before anybody's. So nobody keeps all rows with long texts, and two tenants never take
        them from each other in turns."""
        if sequence.request.background:
            return None
        if waits := next((s for s in able if s.request.background), None):
            return waits
        rows = Counter(s.request.tenant for s in self.running)
        weights = {s.request.tenant: s.request.weight for s in (*self.running, sequence)}
        most = max(rows, key=lambda tenant: rows[tenant] / weights[tenant])
        mine = sequence.request.tenant
        if most == mine or rows[most] / weights[most] <= (rows[mine] + 1) / weights[mine]:
            return None
        return next((s for s in able if s.request.tenant == most), None)

    def _blocks_for(self, sequence: Sequence) -> int:
        return -(-(len(sequence.tokens) + 1) // BLOCK)

    def _fits(self, sequence: Sequence) -> bool:
        """Whether a sequence can begin beside those that run."""
        lanes = {s.request.adapter: s.request.lanes for s in (*self.running, sequence)}
        enough = self._blocks_for(sequence) + self._promised() <= self.blocks.free
        return enough and sum(lanes.values()) <= self.limits.lanes

    def _promised(self) -> int:
        """Blocks that running sequences will take for what they still have to read, and one for each that writes."""
        return sum(max(1, self._blocks_for(s) - len(s.table)) for s in self.running)

    def _make_room(self, sequence: Sequence, end: int, *, among: list[Part]) -> bool:
        """Blocks up to `end` for a sequence that writes, if need be from the one that began last."""
        while len(sequence.table) * BLOCK < end:
            number = self.blocks.take()
            if number is not None:
                sequence.table.append(number)
                continue
            busy = {part.sequence for part in among}
            able = [s for s in reversed(self.running) if s not in busy]
            victim = next((s for s in able if s.request.background), able[0] if able else sequence)
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _extend(self, sequence: Sequence, end: int) -> None:
        while len(sequence.table) * BLOCK < end:
            number = self.blocks.take()
            assert number is not None, "the caller asked how many are free"
            sequence.table.append(number)

    def _preempt(self, sequence: Sequence) -> None:
        self.preempted += 1
        self.running.remove(sequence)
        self._give_back(sequence)
        tenant = sequence.request.tenant
        self._queues.setdefault(tenant, _Queue(tenant)).sequences.appendleft(sequence)

    def _give_back(self, sequence: Sequence) -> None:
        self.blocks.release(sequence.table)
        sequence.table, sequence.computed = [], 0

    def _present(self) -> set[str]:
        return {*self._queues, *(s.request.tenant for s in self.running)}

    def _leave(self, queue: _Queue) -> None:
        """Forget an empty queue, and in time what absent tenants received."""
        if queue.sequences:
            return
        self._queues.pop(queue.tenant, None)
        if len(self._received) > 4096:
            present = self._present()
            self._received = {t: v for t, v in self._received.items() if t in present}
