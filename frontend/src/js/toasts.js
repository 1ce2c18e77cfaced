// Toasts float on wide screens: there they leave after 6 s, and wait while pointed at or focused. On narrow ones they stand
// in the page, which must not move under a reader, and stay until dismissed. Errors are never only here.
const floating = matchMedia("(min-width: 64rem)");
for (const toast of document.querySelectorAll(".toast")) live(toast);

function live(toast) {
  let left = 6000, started, timer;
  const leave = () => {
    const all = toast.parentElement;
    toast.remove();
    if (!all.childElementCount) all.remove(); // empty, it would keep its gap
  };
  const go = () => { started = performance.now(); timer = setTimeout(() => { if (floating.matches) leave(); }, left); };
  const wait = () => { clearTimeout(timer); left -= performance.now() - started; };
  toast.addEventListener("mouseenter", wait);
  toast.addEventListener("mouseleave", go);
  toast.addEventListener("focusin", wait);
  toast.addEventListener("focusout", go);
  toast.querySelector("[data-dismiss]")?.addEventListener("click", leave);
  go();
}
