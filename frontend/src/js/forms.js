// A sent form keeps its button's label and width, shows a sign after 200 ms, and cannot be sent twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method === "dialog" || form.hasAttribute("data-theme-form")) return;
  if (form.method === "get") {
    const button = event.submitter || form.querySelector("[type=submit]"); // a search may take a second or two
    if (button) button.setAttribute("aria-busy", "true");
    return;
  }
  if (form.dataset.sent !== undefined) { event.preventDefault(); return; }
  sent(form, event.submitter);
});
// htmx sends some forms itself. What it asks for on a change, such as an estimate, is no sending.
const cause = (event) => event.detail.requestConfig?.triggeringEvent;
document.addEventListener("htmx:beforeRequest", (event) => {
  if (cause(event)?.type === "submit") sent(cause(event).target, cause(event).submitter);
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (cause(event)?.type === "submit") release();
});
// A cancelled download or the back button must leave the form usable.
addEventListener("pageshow", release);

function sent(form, submitter) {
  form.dataset.sent = "";
  // Enter in a field presses the form's first button, which may be one that is shown without script only.
  const button = [submitter, ...form.querySelectorAll("[type=submit]")].find((one) => one?.checkVisibility());
  if (!button) return;
  button.setAttribute("aria-busy", "true");
  // Disabled only after the browser has read the form, or the pressed button's own value would be lost.
  setTimeout(() => { if (form.dataset.sent !== undefined) button.setAttribute("aria-disabled", "true"); }, 0);
}

function release() {
  for (const button of document.querySelectorAll("form[method=get] [aria-busy]")) button.removeAttribute("aria-busy");
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("[aria-busy]")) { button.removeAttribute("aria-busy"); button.removeAttribute("aria-disabled"); }
  }
}

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
