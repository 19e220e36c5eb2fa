// Updates the votes, the outcome and the saga of an open review. Forms are not replaced: if the review has changed,
// a notice says so.
import { follow, partOf, replace, typed } from "./follow.js";

const review = document.querySelector("[data-progress]");
const seen = document.getElementById("progress").dataset.state;
let etag = null;

// Shows the notice, or reloads the page and returns false. A pending review never reloads: a person about to press a
// button would decide on something that they have not read.
function noticeChange(now) {
  const notice = review.querySelector(".moved");
  const open = now.startsWith("pending ");
  if (notice && (open || typed(review))) {
    notice.hidden = false;
    return true;
  }
  location.reload();
  return false;
}

async function refresh(part) {
  const response = await fetch(review.dataset.progress, { redirect: "error", headers: etag ? { "If-None-Match": etag } : {} });
  if (response.status !== 200) return;
  etag = response.headers.get("ETag");
  const fresh = await partOf(response, "progress");
  if (!fresh) return;
  if (fresh.dataset.state !== seen && !noticeChange(fresh.dataset.state)) return;
  replace(part, fresh);
}

function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (!target) return;
  if (target.matches("details")) target.open = true;
  target.scrollIntoView({ block: "center" });
  target.querySelector("button, textarea, input:not([type=hidden])")?.focus({ preventScroll: true });
}

document.querySelector(".still")?.remove();
openTarget();
addEventListener("hashchange", openTarget);
follow("progress", refresh);
