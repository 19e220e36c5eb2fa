// Shows how the saga goes on. What somebody is typing stays: then only a notice says that something has changed.
import { follow, partOf, replace, typed } from "./follow.js";

const typing = (part) =>
  (part.contains(document.activeElement) && document.activeElement.matches("input, textarea")) || typed(part);

async function refresh(part) {
  const answer = await fetch(part.dataset.progress, { redirect: "error" });
  if (!answer.ok) return;
  const fresh = await partOf(answer, "saga");
  if (!fresh || fresh.dataset.version === part.dataset.version) return;
  if (typing(part)) {
    part.querySelector(".changed").hidden = false;
    return;
  }
  replace(part, fresh);
  followed();
}

function followed() {
  // The page follows by itself.
  document.querySelector("#saga .refresh")?.remove();
}

followed();
follow("saga", refresh);
