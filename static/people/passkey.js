// Says on the page when a passkey was not used; allauth's own script would only write to the console.
document.addEventListener("allauth.error", (event) => {
  const box = document.getElementById("passkey-problem");
  if (!box) return;
  event.preventDefault();
  box.querySelector("span").textContent = box.dataset.cancelled;
  box.hidden = false;
});
