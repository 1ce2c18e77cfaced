// Small shared helpers. Words come from the server: <html data-words='{"copied": "Copied", …}'>.
let words;
export function word(key, fallback) {
  if (!words) {
    try { words = JSON.parse(document.documentElement.dataset.words || "{}"); } catch { words = {}; }
  }
  return words[key] || fallback;
}

export function announce(text) {
  const region = document.getElementById("announce");
  if (!region) return;
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 50);
}

export function csrf() {
  return (document.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/) || [])[1]
    || (document.querySelector("input[name=csrfmiddlewaretoken]") || {}).value || "";
}

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function icon(name) {
  const sprite = document.documentElement.dataset.icons;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${sprite}#${name}`);
  svg.append(use);
  return svg;
}
