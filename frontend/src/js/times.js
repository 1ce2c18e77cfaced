// <time data-relative>: the server wrote the words; this keeps them true while the page stays open.
const units = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const format = new Intl.RelativeTimeFormat(document.documentElement.lang || "en", { numeric: "auto", style: "short" });

function tick() {
  const now = Date.now();
  for (const node of document.querySelectorAll("time[data-relative]")) {
    const seconds = (new Date(node.dateTime) - now) / 1000;
    const unit = units.find(([, size]) => Math.abs(seconds) >= size);
    if (unit) node.textContent = format.format(Math.trunc(seconds / unit[1]), unit[0]);
  }
}
setInterval(tick, 30000);
