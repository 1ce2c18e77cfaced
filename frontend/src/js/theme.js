// The theme form posts without script; with script the page changes at once and the cookie is written here.
document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-theme-form]");
  if (!form) return;
  event.preventDefault();
  const value = event.submitter && event.submitter.value;
  const root = document.documentElement;
  if (value === "light" || value === "dark") {
    root.dataset.theme = value;
    document.cookie = `theme=${value}; path=/; max-age=31536000; samesite=lax`;
  } else {
    delete root.dataset.theme;
    document.cookie = "theme=; path=/; max-age=0; samesite=lax";
  }
  for (const button of form.querySelectorAll("button")) {
    if (button === event.submitter) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  const menu = form.closest("details");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
  document.dispatchEvent(new CustomEvent("ts:theme"));
});
