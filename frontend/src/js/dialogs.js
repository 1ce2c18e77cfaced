// Native <dialog>, opened by <button command="show-modal" commandfor="id"> with no script at all where the browser
// knows invoker commands; this file serves the others, closes on a backdrop click and restores focus.
const native = "commandForElement" in HTMLButtonElement.prototype;

document.addEventListener("click", (event) => {
  const dialog = event.target;
  if (dialog instanceof HTMLDialogElement && dialog.open) {
    const box = dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside && event.detail > 0) dialog.close();
    return;
  }
  if (native) return;
  const button = event.target.closest("[commandfor]");
  const target = button && document.getElementById(button.getAttribute("commandfor"));
  if (!(target instanceof HTMLDialogElement)) return;
  if (button.getAttribute("command") === "show-modal") target.showModal();
  if (button.getAttribute("command") === "close") target.close();
});

// A confirmation that needs the name typed keeps its button off until the name fits.
document.addEventListener("input", (event) => {
  const input = event.target.closest("input[data-must-equal]");
  if (!input) return;
  const button = input.form && input.form.querySelector("[data-needs-name]");
  if (button) button.disabled = input.value.trim() !== input.dataset.mustEqual;
});
for (const button of document.querySelectorAll("[data-needs-name]")) button.disabled = true;
