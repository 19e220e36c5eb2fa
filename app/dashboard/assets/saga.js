// Updates the saga's progress. While the person types, only a notice appears.
import { follow, partOf, replace, typed } from "./follow.js";

const typing = (part) =>
  (part.contains(document.activeElement) && document.activeElement.matches("input, textarea")) || typed(part);

async function refresh(part) {
  const response = await fetch(part.dataset.progress, { redirect: "error" });
  if (!response.ok) return;
  const fresh = await partOf(response, "saga");
  if (!fresh || fresh.dataset.version === part.dataset.version) return;
  if (typing(part)) {
    part.querySelector(".changed").hidden = false;
    return;
  }
  replace(part, fresh);
  removeReloadLink();
}

function removeReloadLink() {
  // The page updates itself.
  document.querySelector("#saga .refresh")?.remove();
}

removeReloadLink();
follow("saga", refresh);
