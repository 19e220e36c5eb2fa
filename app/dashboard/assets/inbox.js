// The inbox as it changes: rows come and go without a reload, and what somebody has selected or stands on stays.
// Without this file, or with the stream away, the page is as it was when it was loaded.

import { tell } from "./times.js";

const list = document.getElementById("reviews");
const bulk = document.getElementById("bulk");
const picked = document.getElementById("picked");
const news = document.getElementById("news");
const [approve, reject] = bulk.querySelectorAll("button");
const name = document.title.replace(/^\(\d+\+?\) /, "");

const boxes = () => [...list.querySelectorAll("input[name=pick]")];

function showPicked() {
  const count = boxes().filter((box) => box.checked).length;
  bulk.hidden = count === 0;
  picked.textContent = `${count} selected`;
  approve.textContent = `Approve ${count}…`;
  reject.textContent = `Reject ${count}…`;
}

function rowOf(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html; // made by the server, where everything in it was escaped
  const row = holder.content.querySelector("li");
  tell(row);
  return row;
}

function replace(old, row) {
  const [was, is] = [old, row].map((each) => each.querySelector("input[name=pick]"));
  // Another revision is another thing: who selected the old one has not seen it.
  is.checked = was.checked && was.value === is.value;
  const focused = old.contains(document.activeElement) && document.activeElement.matches("a") ? "a" : "input";
  const had = old.contains(document.activeElement);
  old.replaceWith(row);
  if (had) row.querySelector(focused).focus({ preventScroll: true });
}

function remove(row) {
  if (row.contains(document.activeElement)) {
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    (neighbour?.querySelector("a") ?? document.getElementById("main")).focus({ preventScroll: true });
  }
  row.remove();
}

function arrange(order, rows) {
  const there = new Map([...list.children].map((row) => [row.id, row]));
  let added = 0;
  for (const [id, row] of there) if (!order.includes(id)) remove(row);
  order.forEach((id, place) => {
    if (rows[id]) {
      const row = rowOf(rows[id]);
      const old = there.get(id);
      if (!old) {
        list.insertBefore(row, list.children[place] ?? null);
        row.classList.add("new");
        added += 1;
      } else if (old.outerHTML !== row.outerHTML) replace(old, row);
    }
    const row = document.getElementById(id);
    if (row && list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null);
  });
  return { added, removed: [...there.keys()].filter((id) => !order.includes(id)).length };
}

function announce({ added, removed }, count) {
  const said = [];
  if (added) said.push(added === 1 ? "One new review." : `${added} new reviews.`);
  if (removed) said.push(removed === 1 ? "One review was decided." : `${removed} reviews were decided.`);
  if (said.length) news.textContent = `${said.join(" ")} ${count} waiting.`;
}

function show({ count, order, rows, cursor }) {
  announce(arrange(order, rows), count);
  document.getElementById("count").textContent = count;
  document.title = count === "0" ? name : `(${count}) ${name}`;
  document.getElementById("empty").hidden = order.length > 0;
  const next = document.getElementById("next");
  next.hidden = cursor === null;
  if (cursor !== null) {
    const query = new URLSearchParams(location.search);
    query.set("cursor", cursor);
    next.href = `/inbox?${query}`;
  }
  showPicked();
}

// A browser opens six connections to one server, for all its tabs together: one that nobody sees gives its own back,
// and asks now and then. The first event tells everything, so asking is to follow until then.
const ASK_EVERY = 20_000;
let stream = null;

function follow() {
  stream?.close();
  stream = new EventSource(`/inbox/events${location.search}`);
  stream.addEventListener("reviews", (event) => {
    show(JSON.parse(event.data));
    if (document.hidden) stream.close();
  });
  stream.addEventListener("signed-out", () => {
    stream.close();
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  });
}

function live() {
  follow();
  setInterval(() => document.hidden && follow(), ASK_EVERY);
  document.addEventListener("visibilitychange", () => (document.hidden ? stream.close() : follow()));
  addEventListener("pagehide", () => stream.close());
  // A page that the browser kept is older than what the stream tells next: it is told everything anew.
  addEventListener("pageshow", (event) => event.persisted && follow());
}

list.addEventListener("change", showPicked);
showPicked();
if ("live" in list.dataset) live();
