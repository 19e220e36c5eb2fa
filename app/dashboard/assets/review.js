// Shows what becomes of a review while its page is open: votes, the outcome, how the saga goes on. Forms stay as they
// are: where what they are about has changed, only a notice says so.
import { tell } from "/assets/times.js";

const EVERY_MS = 2000;
const review = document.querySelector("[data-progress]");
const seen = state();
let etag = null;

function state() {
  return document.getElementById("progress").dataset.state;
}

function typed() {
  return [...review.querySelectorAll("input:not([type=hidden]), textarea, select")].some((field) =>
    field.matches("select") ? field.selectedIndex !== Math.max(0, [...field.options].findIndex((each) => each.defaultSelected)) : field.value !== field.defaultValue);
}

// While it can still be decided, the page never loads itself anew: a thumb on its way to a button would press it under
// something that nobody has read. False where it does.
function tellOfChange(now) {
  const notice = review.querySelector(".moved");
  const open = now.startsWith("pending ");
  if (notice && (open || typed())) {
    notice.hidden = false;
    return true;
  }
  location.reload();
  return false;
}

async function look() {
  if ("ended" in document.getElementById("progress").dataset) return;
  if (!document.hidden) await refresh().catch(() => {});
  setTimeout(look, EVERY_MS);
}

async function refresh() {
  const answer = await fetch(review.dataset.progress, { redirect: "error", headers: etag ? { "If-None-Match": etag } : {} });
  if (answer.status !== 200) return;
  etag = answer.headers.get("ETag");
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("progress");
  if (!fresh) return;
  const part = document.getElementById("progress");
  if (fresh.dataset.state !== seen && !tellOfChange(fresh.dataset.state)) return;
  // Where the parts are the same ones, what was open stays open.
  const before = [...part.querySelectorAll("details")];
  const after = [...fresh.querySelectorAll("details")];
  if (before.length === after.length) after.forEach((each, place) => (each.open = before[place].open));
  part.replaceWith(fresh);
  tell(fresh);
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
look();
