// Keeps a part of a page current: fetches it again and replaces the old part.
import { showRelative } from "./times.js";

// A part that waits for a person may stay the same for days.
const EVERY_MS = 2000, RESTING_MS = 5000;

export async function follow(id, refresh) {
  const part = document.getElementById(id);
  if ("ended" in part.dataset) return;
  if (!document.hidden) await refresh(part).catch(() => {});
  setTimeout(follow, "rests" in part.dataset ? RESTING_MS : EVERY_MS, id, refresh);
}

export async function partOf(response, id) {
  return new DOMParser().parseFromString(await response.text(), "text/html").getElementById(id);
}

export function replace(part, fresh) {
  // Restore open details only if both parts have the same number of them; otherwise another one would open.
  const [before, after] = [part, fresh].map((each) => [...each.querySelectorAll("details")]);
  if (before.length === after.length) after.forEach((each, place) => (each.open = before[place].open));
  part.replaceWith(fresh);
  showRelative(fresh);
}

// Whether the part has input that was not sent yet.
export function typed(root) {
  return [...root.querySelectorAll("input:not([type=hidden]), textarea, select")].some((field) => {
    if (field.matches("select")) {
      return field.selectedIndex !== Math.max(0, [...field.options].findIndex((each) => each.defaultSelected));
    }
    if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
    return field.value !== field.defaultValue;
  });
}
