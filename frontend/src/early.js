// Runs before the first paint, so that nothing moves when app.js arrives: what only script can do is shown, what stands in
// for it is hidden. Should app.js never arrive, it is the other way round again.
const root = document.documentElement;
root.dataset.js = "";
document.addEventListener("DOMContentLoaded", () => { if (root.dataset.js !== "ready") delete root.dataset.js; });
