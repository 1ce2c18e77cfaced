// <ts-writing>: asks a model that writes, and shows the text as it comes. The call is in `data-call`, the pass lasts a
// minute. Stopping, or leaving the page, ends the model's work; what was said is handed to the form for the next turn.
class Writing extends HTMLElement {
  connectedCallback() {
    if (this.begun) return;
    this.begun = true;
    this.stopper = new AbortController();
    this.text = document.createTextNode("");
    this.place = this.querySelector("[data-text]");
    this.place.replaceChildren(this.text);
    this.stop = this.querySelector("[data-stop]");
    this.stop.addEventListener("click", () => this.stopper.abort());
    this.run(JSON.parse(this.dataset.call));
  }

  disconnectedCallback() { this.stopper?.abort(); }

  async run(body) {
    this.began = performance.now();
    this.place.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(this.dataset.url, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.dataset.pass}` },
        body: JSON.stringify(body),
        signal: this.stopper.signal,
      });
      this.request = answer.headers.get("x-request-id");
      if (!answer.ok) throw new Refused((await answer.json()).error.message);
      await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      this.tell(this.ended());
    } catch (error) {
      if (this.stopper.signal.aborted) this.tell(this.dataset.stopped);
      else this.fail(error instanceof Refused ? error.message : this.dataset.lost);
    }
    this.place.removeAttribute("aria-busy");
    if (document.activeElement === this.stop) document.querySelector("#play textarea[name=text]")?.focus(); // not lost
    this.stop.hidden = true;
    this.link();
    const said = body.messages.filter((turn) => turn.role !== "system");
    if (this.text.data) said.push({ role: "assistant", content: this.text.data });
    this.querySelector("[data-history]").value = JSON.stringify(this.text.data ? said : said.slice(0, -1));
  }

  // Server-sent events: `data:` lines, a blank line between them.
  async read(reader) {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data: ") && line !== "data: [DONE]") this.take(JSON.parse(line.slice(6)));
    }
  }

  take(chunk) {
    if (chunk.error) throw new Refused(chunk.error.message);
    if (chunk.usage) this.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    if (choice.delta.content) {
      this.first ??= performance.now();
      this.text.data += choice.delta.content;
    }
    this.finish = choice.finish_reason || this.finish;
  }

  ended() {
    const spans = { ms: performance.now() - this.began, first: (this.first ?? performance.now()) - this.began };
    const values = {
      ms: Math.round(spans.ms), first: Math.round(spans.first), read: this.usage?.prompt_tokens ?? "–",
      written: this.usage?.completion_tokens ?? "–", cost: this.money(this.usage?.[`x_cost_${this.dataset.currency}`]),
    };
    const facts = this.dataset.facts.replace(/\{(\w+)\}/g, (_, name) => values[name]);
    const why = { length: this.dataset.cut, budget: this.dataset.spent }[this.finish];
    return why ? `${facts} · ${why}` : facts;
  }

  // What the request log has of it, for who may read the log.
  link() {
    const link = this.querySelector("[data-request]");
    if (!this.request || !this.dataset.requests) return;
    link.href = `${this.dataset.requests}${this.request}/`;
    link.hidden = false;
  }

  // An amount as the pages write it: `data-money` is the currency around a place for the digits, €{} or {} CHF.
  money(amount) {
    if (amount === undefined) return "–";
    const written = (digits) => this.dataset.money.replace("{}", digits);
    if (amount > 0 && amount < 1e-6) return `<${written("0.000001")}`;
    return written(amount === 0 || amount >= 0.01 ? amount.toFixed(2) : amount.toFixed(6));
  }

  tell(words) { this.querySelector("[data-told]").textContent = words; }

  fail(words) {
    const place = this.querySelector("[data-error]");
    place.textContent = words;
    place.hidden = false;
  }
}

class Refused extends Error {}

customElements.define("ts-writing", Writing);
