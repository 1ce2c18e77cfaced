// Keys. Single letters are off inside fields, with any dialog open, and where the reader turned them off.
const off = document.documentElement.dataset.keys === "off";
let pending = 0;

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
    const palette = document.querySelector("ts-palette");
    if (palette) { event.preventDefault(); palette.open(); }
    return;
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    const form = event.target.form || document.querySelector("form[data-run]");
    if (form) { event.preventDefault(); form.requestSubmit(); }
    return;
  }
  if (off || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.closest("input,textarea,select,[contenteditable]");
  if (field && field.type !== "checkbox" && field.type !== "radio") return;
  if (document.querySelector("dialog[open]")) return;
  if (performance.now() < pending) {
    pending = 0;
    const link = document.querySelector(`a[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); location.assign(link.href); }
    return;
  }
  const action = actions[event.key];
  if (action && action() !== false) event.preventDefault();
});

const actions = {
  "?": () => { const help = document.getElementById("keys-help"); if (!help) return false; help.showModal(); },
  "/": () => {
    const filter = document.querySelector("[data-filter]");
    if (!filter) return false;
    filter.focus();
  },
  g: () => { pending = performance.now() + 1500; },
  j: () => step(1),
  k: () => step(-1),
  o: () => open(),
  Enter: () => (document.activeElement === document.body ? open() : false),
  x: () => {
    const box = current()?.querySelector("[data-pick]");
    if (!box) return false;
    box.click();
  },
  "[": () => follow("[rel=prev]"),
  "]": () => follow("[rel=next]"),
};

function rows() { return [...document.querySelectorAll("[data-row]")]; }
function current() { return document.querySelector("[data-row][data-current]"); }
function step(by) {
  const all = rows();
  if (!all.length) return false;
  const at = all.indexOf(current());
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  current()?.removeAttribute("data-current");
  next.dataset.current = "";
  next.scrollIntoView({ block: "nearest" });
  const link = next.querySelector("a[href]");
  if (link) link.focus({ preventScroll: true });
}
function open() {
  const link = current()?.querySelector("a[href]");
  if (!link) return false;
  location.assign(link.href);
}
function follow(selector) {
  const link = document.querySelector(`a${selector}`);
  if (!link) return false;
  location.assign(link.href);
}
