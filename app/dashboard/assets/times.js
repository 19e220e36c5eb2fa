// Instants are printed by the server in UTC. Here they become "3 min ago", with the full local time on hover.
// <time datetime="…">: one that lies ahead reads "in 2 h". A page that adds rows calls `tell(root)` for them.

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];
const format = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "long" });

export function relative(then, now = Date.now()) {
  const seconds = (then - now) / 1000;
  for (const [unit, size] of UNITS) {
    if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit);
  }
  return seconds < 0 ? "just now" : "in under a minute";
}

export function tell(root = document) {
  for (const element of root.querySelectorAll("time[datetime]:not([data-absolute])")) {
    const then = Date.parse(element.dateTime);
    if (Number.isNaN(then)) continue;
    if (!element.title) element.title = new Date(then).toLocaleString("en", { dateStyle: "full", timeStyle: "long" });
    const text = relative(then);
    if (element.textContent !== text) element.textContent = text;
  }
}

tell();
setInterval(tell, 30_000, document);
document.addEventListener("visibilitychange", () => document.hidden || tell());
