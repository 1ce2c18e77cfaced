// Toasts leave after 6 s, wait while pointed at or focused, and can be dismissed. Errors are never only here.
for (const toast of document.querySelectorAll(".toast")) live(toast);

function live(toast) {
  let left = 6000, started, timer;
  const go = () => { started = performance.now(); timer = setTimeout(() => toast.remove(), left); };
  const wait = () => { clearTimeout(timer); left -= performance.now() - started; };
  toast.addEventListener("mouseenter", wait);
  toast.addEventListener("mouseleave", go);
  toast.addEventListener("focusin", wait);
  toast.addEventListener("focusout", go);
  toast.querySelector("[data-dismiss]")?.addEventListener("click", () => toast.remove());
  go();
}
