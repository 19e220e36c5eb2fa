// Shows what becomes of a review while its page is open: votes, the outcome, how the saga goes on. Forms stay as they
// are: where what they are about has changed, only a notice says so.
import { follow, partOf, replace, typed } from "./follow.js";

const review = document.querySelector("[data-progress]");
const seen = document.getElementById("progress").dataset.state;
let etag = null;

// While it can still be decided, the page never loads itself anew: a thumb on its way to a button would press it under
// something that nobody has read. False where it does.
function tellOfChange(now) {
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
  const answer = await fetch(review.dataset.progress, { redirect: "error", headers: etag ? { "If-None-Match": etag } : {} });
  if (answer.status !== 200) return;
  etag = answer.headers.get("ETag");
  const fresh = await partOf(answer, "progress");
  if (!fresh) return;
  if (fresh.dataset.state !== seen && !tellOfChange(fresh.dataset.state)) return;
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
