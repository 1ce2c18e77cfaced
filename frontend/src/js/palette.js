// Ctrl/Cmd K: a combobox over /search. The search button is a link to the same page, for when script is missing.
import { announce, icon, word } from "./dom.js";

class Palette extends HTMLElement {
  connectedCallback() {
    this.dialog = this.querySelector("dialog");
    this.input = this.querySelector("[role=combobox]");
    this.list = this.querySelector("[role=listbox]");
    this.at = -1;
    this.input.addEventListener("input", () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.load(), 120); });
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) location.assign(option.dataset.href);
    });
    this.querySelector("form").addEventListener("submit", (event) => {
      const option = this.options()[this.at];
      if (option) { event.preventDefault(); location.assign(option.dataset.href); }
    });
  }

  open() {
    if (this.dialog.open) return;
    this.dialog.showModal();
    this.input.select();
    this.load();
  }

  async load() {
    const query = this.input.value;
    const url = `${this.dataset.src}?${new URLSearchParams({ q: query, format: "json", ...(this.dataset.context ? { in: this.dataset.context } : {}) })}`;
    let results;
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      results = (await answer.json()).results;
    } catch {
      this.list.replaceChildren();
      announce(word("search_failed", "Search did not answer. Press Enter to open the search page."));
      return;
    }
    if (query !== this.input.value) return;
    this.list.replaceChildren(...results.map((result, i) => {
      const option = document.createElement("div");
      option.setAttribute("role", "option");
      option.id = `palette-${i}`;
      option.dataset.href = result.href;
      const kind = document.createElement("span");
      kind.className = "kind";
      kind.textContent = result.kind;
      const name = document.createElement("span");
      name.textContent = result.name;
      option.append(icon(result.icon), name, kind);
      return option;
    }));
    this.move(results.length ? 0 : -1);
    announce(`${results.length} ${word("results", "results")}`);
  }

  options() { return [...this.list.children]; }

  move(to) {
    const options = this.options();
    this.at = to;
    options.forEach((option, i) => option.setAttribute("aria-selected", i === to));
    if (options[to]) {
      this.input.setAttribute("aria-activedescendant", options[to].id);
      options[to].scrollIntoView({ block: "nearest" });
    } else this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    const size = this.list.children.length;
    if (event.key === "ArrowDown" && size) { event.preventDefault(); this.move((this.at + 1) % size); }
    if (event.key === "ArrowUp" && size) { event.preventDefault(); this.move((this.at - 1 + size) % size); }
  }
}
customElements.define("ts-palette", Palette);

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-open-palette]");
  const palette = document.querySelector("ts-palette");
  if (!link || !palette || event.metaKey || event.ctrlKey) return;
  event.preventDefault();
  palette.open();
});
