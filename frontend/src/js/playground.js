// The playground's samples follow what is typed: <textarea data-sample-source> fills [data-sample-text] spans.
document.addEventListener("input", (event) => {
  const source = event.target.closest("[data-sample-source]");
  if (!source) return;
  const text = source.value.split("\n")[0].slice(0, 200) || source.placeholder;
  for (const node of document.querySelectorAll("[data-sample-text]")) node.textContent = JSON.stringify(text);
});
