// A sent form keeps its button's label and width, shows a sign after 200 ms, and cannot be sent twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method === "dialog" || form.hasAttribute("data-theme-form")) return;
  if (form.method === "get") return;
  const button = event.submitter || form.querySelector("[type=submit]");
  if (form.dataset.sent !== undefined) { event.preventDefault(); return; }
  form.dataset.sent = "";
  if (!button) return;
  button.setAttribute("aria-busy", "true");
  // Disabled only after the browser has read the form, or the pressed button's own value would be lost.
  setTimeout(() => { button.setAttribute("aria-disabled", "true"); }, 0);
});
// A form kept by htmx, a cancelled download or the back button must be usable again.
function release() {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("[aria-busy]")) { button.removeAttribute("aria-busy"); button.removeAttribute("aria-disabled"); }
  }
}
addEventListener("pageshow", release);
document.addEventListener("htmx:afterRequest", release);

// The error summary takes the focus once, so that a screen reader starts there.
const summary = document.querySelector("[data-error-summary]");
if (summary) summary.focus();

// <select data-submit> sends its form; without script the form has a button.
document.addEventListener("change", (event) => {
  const field = event.target.closest("[data-submit]");
  if (field && field.form) field.form.requestSubmit();
});

// Select all rows, and a batch bar with the count.
document.addEventListener("change", (event) => {
  const box = event.target;
  if (!(box instanceof HTMLInputElement) || box.type !== "checkbox") return;
  const form = box.form;
  if (!form || !form.querySelector("[data-batch]")) return;
  if (box.dataset.all !== undefined) for (const other of form.querySelectorAll("[data-pick]")) other.checked = box.checked;
  const count = form.querySelectorAll("[data-pick]:checked").length;
  const bar = form.querySelector("[data-batch]");
  bar.hidden = count === 0;
  const out = bar.querySelector("[data-count]");
  if (out) out.textContent = count;
  for (const pick of form.querySelectorAll("[data-pick]")) pick.closest("tr").setAttribute("aria-selected", pick.checked);
});
