// <time data-relative>: the server wrote the words; this keeps them true while the page stays open, in the same words.
import { word } from "./dom.js";

const month = 30 * 86400;

function words(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}\u00a0min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return word("days", "%s days").replace("%s", Math.floor(hours / 24));
  return minutes % 60 ? `${hours}\u00a0h ${minutes % 60}\u00a0min` : `${hours}\u00a0h`;
}

function tick() {
  const now = Date.now();
  for (const node of document.querySelectorAll("time[data-relative]")) {
    const seconds = (now - new Date(node.dateTime)) / 1000;
    const size = Math.abs(seconds);
    if (size > month) continue; // a date already
    if (size < 60) node.textContent = word("now", "just now");
    else node.textContent = (seconds > 0 ? word("ago", "%s ago") : word("in", "in %s")).replace("%s", words(size));
  }
}
setInterval(tick, 30000);
