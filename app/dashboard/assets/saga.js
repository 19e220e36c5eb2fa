// Shows how the saga goes on. What somebody is typing stays: then only a notice says that something has changed.
import { tell } from "/assets/times.js";

// One that waits for a person may do so for days.
const EVERY_MS = 2000, RESTING_MS = 5000;
const typing = (part) =>
  part.contains(document.activeElement) && document.activeElement.matches("input, textarea") ||
  [...part.querySelectorAll("input, textarea")].some((field) =>
    field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);

const opened = (part) => [...part.querySelectorAll("details")].map((each) => each.open);

async function look() {
  const part = document.getElementById("saga");
  if ("ended" in part.dataset) return;
  if (!document.hidden) await refresh(part).catch(() => {});
  setTimeout(look, "rests" in part.dataset ? RESTING_MS : EVERY_MS);
}

async function refresh(part) {
  const answer = await fetch(part.dataset.progress, { redirect: "error" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("saga");
  if (!fresh || fresh.dataset.version === part.dataset.version) return;
  if (typing(part)) {
    part.querySelector(".changed").hidden = false;
    return;
  }
  const open = opened(part);
  // Only where the parts are the same ones: else what opens would be something else.
  const before = [...part.querySelectorAll("details")];
  const after = [...fresh.querySelectorAll("details")];
  if (before.length === after.length) after.forEach((each, place) => (each.open = open[place]));
  part.replaceWith(fresh);
  told();
}

function told() {
  // The page follows by itself.
  document.querySelector("#saga .refresh")?.remove();
  tell();
}

told();
look();
