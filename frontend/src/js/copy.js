// <button data-copy="text"> or <button data-copy-from="id of an element">: copies, says "Copied" for 1.6 s.
import { announce, word } from "./dom.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy],[data-copy-from]");
  if (!button) return;
  const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
  const text = source ? (source.value ?? source.textContent) : button.dataset.copy;
  if (!(await write(text))) return;
  announce(word("copied", "Copied"));
  const label = button.querySelector("[data-copy-label]");
  const use = button.querySelector("use");
  const before = { label: label && label.textContent, href: use && use.getAttribute("href") };
  if (button.dataset.copying) return;
  button.dataset.copying = "";
  if (label) label.textContent = word("copied", "Copied");
  if (use) use.setAttribute("href", before.href.replace(/#.*/, "#check"));
  setTimeout(() => {
    delete button.dataset.copying;
    if (label) label.textContent = before.label;
    if (use) use.setAttribute("href", before.href);
  }, 1600);
});

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No permission, or a page without https: the old way still works after a click.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
