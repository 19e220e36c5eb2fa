// Updates the inbox without a reload and keeps the selection and the focus.
// Without this script or the stream, the page stays as it was loaded.

import { showRelative } from "./times.js";

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
  holder.innerHTML = html; // the server escaped all values in it
  const row = holder.content.querySelector("li");
  showRelative(row);
  return row;
}

function replace(old, row) {
  const [was, is] = [old, row].map((each) => each.querySelector("input[name=pick]"));
  // A person who selected the old revision has not read the new one.
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
  const changes = [];
  if (added) changes.push(added === 1 ? "One new review." : `${added} new reviews.`);
  if (removed) changes.push(removed === 1 ? "One review was decided." : `${removed} reviews were decided.`);
  if (changes.length) news.textContent = `${changes.join(" ")} ${count} waiting.`;
}

function show({ count, order, rows, cursor }) {
  announce(arrange(order, rows), count);
  document.getElementById("count").textContent = count;
  document.title = count === "0" ? name : `(${count}) ${name}`;
  document.getElementById("empty").hidden = order.length > 0;
  document.getElementById("so-far")?.toggleAttribute("hidden", cursor === null);
  const next = document.getElementById("next");
  next.hidden = cursor === null;
  if (cursor !== null) {
    const query = new URLSearchParams(location.search);
    query.set("cursor", cursor);
    next.href = `/inbox?${query}`;
  }
  showPicked();
}

// A browser allows six connections to a server across all tabs, so a hidden tab closes its stream.
// It reconnects at this interval and closes again after the first event, which carries the full list.
const HIDDEN_REFRESH = 20_000;
// A browser does not reconnect after an error such as a 503: the database or the server was away.
const RETRY = 5_000;
let stream = null;

function follow() {
  stream?.close();
  const opened = new EventSource(`/inbox/events${location.search}`);
  stream = opened;
  stream.addEventListener("error", () => {
    if (opened.readyState === EventSource.CLOSED) setTimeout(() => stream === opened && follow(), RETRY);
  });
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
  setInterval(() => document.hidden && follow(), HIDDEN_REFRESH);
  document.addEventListener("visibilitychange", () => (document.hidden ? stream.close() : follow()));
  addEventListener("pagehide", () => stream.close());
  // A page restored from the browser's cache is out of date, and needs the full list.
  addEventListener("pageshow", (event) => event.persisted && follow());
}

list.addEventListener("change", showPicked);
showPicked();
if ("live" in list.dataset) live();
