// <ts-code-tabs>: without script all samples stand below each other; with script they become tabs, and the chosen
// language is remembered for every other sample.
const key = "ts-code";

class CodeTabs extends HTMLElement {
  connectedCallback() {
    const panels = [...this.querySelectorAll("section[data-lang]")];
    const head = this.querySelector("[data-tabs]");
    if (panels.length < 2 || !head) { this.choose(panels, [], panels[0]?.dataset.lang); return; }
    const list = document.createElement("div");
    list.className = "tabs";
    list.setAttribute("role", "tablist");
    const tabs = panels.map((panel) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.setAttribute("role", "tab");
      tab.id = `${panel.id}-tab`;
      tab.textContent = panel.dataset.label;
      tab.setAttribute("aria-controls", panel.id);
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      panel.querySelector(".lang")?.remove();
      tab.addEventListener("click", () => remember(panel.dataset.lang));
      list.append(tab);
      return tab;
    });
    head.replaceChildren(list);
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const at = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
      remember(panels[at].dataset.lang);
      tabs[at].focus();
    });
    this.show = (lang) => this.choose(panels, tabs, lang);
    let saved = null;
    try { saved = localStorage.getItem(key); } catch { /* private mode: tabs still work */ }
    this.show(saved || panels[0].dataset.lang);
  }

  choose(panels, tabs, lang) {
    const chosen = panels.find((p) => p.dataset.lang === lang) || panels[0];
    panels.forEach((panel, i) => {
      panel.hidden = panel !== chosen;
      if (tabs[i]) { tabs[i].setAttribute("aria-selected", panel === chosen); tabs[i].tabIndex = panel === chosen ? 0 : -1; }
    });
    const copy = this.querySelector("[data-copy-from]");
    if (copy && chosen) copy.dataset.copyFrom = chosen.querySelector("code").id;
  }
}

function remember(lang) {
  try { localStorage.setItem(key, lang); } catch { /* private mode */ }
  for (const tabs of document.querySelectorAll("ts-code-tabs")) tabs.show?.(lang);
}

customElements.define("ts-code-tabs", CodeTabs);

// On a narrow screen a row of links scrolls: the page one is on is not to start out of sight.
for (const here of document.querySelectorAll("nav.tabs > [aria-current]")) {
  const row = here.parentElement;
  row.scrollLeft = here.offsetLeft - row.offsetLeft - 16;
}
