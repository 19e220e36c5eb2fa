// The server prints instants in UTC. This script turns each <time datetime="…"> into "3 minutes ago" or "in 2 hours",
// with the full local time on hover. A script that adds rows calls `showRelative(root)` for them.

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const format = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "long" });

export function relative(then, now = Date.now()) {
  const seconds = (then - now) / 1000;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit);
  }
  return seconds < 0 ? "just now" : "in under a minute";
}

export function showRelative(root = document) {
  for (const element of root.querySelectorAll("time[datetime]:not([data-absolute])")) {
    const then = Date.parse(element.dateTime);
    if (Number.isNaN(then)) continue;
    if (!element.title) element.title = new Date(then).toLocaleString("en", { dateStyle: "full", timeStyle: "long" });
    const text = relative(then);
    if (element.textContent !== text) element.textContent = text;
  }
}

showRelative();
setInterval(showRelative, 30_000, document);
document.addEventListener("visibilitychange", () => document.hidden || showRelative());
