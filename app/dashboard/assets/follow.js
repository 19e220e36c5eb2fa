// A part of a page that follows what it shows: asked for anew, and put in the place of the old one.
import { tell } from "./times.js";

// What waits for a person may do so for days.
const EVERY_MS = 2000, RESTING_MS = 5000;

export async function follow(id, refresh) {
  const part = document.getElementById(id);
  if ("ended" in part.dataset) return;
  if (!document.hidden) await refresh(part).catch(() => {});
  setTimeout(follow, "rests" in part.dataset ? RESTING_MS : EVERY_MS, id, refresh);
}

export async function partOf(answer, id) {
  return new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(id);
}

export function replace(part, fresh) {
  // Only where the parts are the same ones: else what opens would be something else.
  const [before, after] = [part, fresh].map((each) => [...each.querySelectorAll("details")]);
  if (before.length === after.length) after.forEach((each, place) => (each.open = before[place].open));
  part.replaceWith(fresh);
  tell(fresh);
}

// Whether somebody has typed, ticked or chosen something that was not sent yet.
export function typed(root) {
  return [...root.querySelectorAll("input:not([type=hidden]), textarea, select")].some((field) => {
    if (field.matches("select")) {
      return field.selectedIndex !== Math.max(0, [...field.options].findIndex((each) => each.defaultSelected));
    }
    if (field.matches("[type=checkbox], [type=radio]")) return field.checked !== field.defaultChecked;
    return field.value !== field.defaultValue;
  });
}
