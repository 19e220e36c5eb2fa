// Counts the reviewed lines that the person cannot have seen yet: in folded parts, and further down in scrolling boxes.
// The approve button shows the count. Without this script it shows the count from when the page was loaded.
const places = [...document.querySelectorAll("[data-substance]")];
const marks = [...document.querySelectorAll("[data-unseen]")];
const reached = new WeakMap();

const all = (selector) => places.flatMap((place) => [...place.querySelectorAll(selector)]);
const folded = (element) => element.parentElement.closest("details:not([open])") !== null;

// The fraction of a box's text that has been visible, from the top to the lowest scroll position.
function read(window) {
  const text = window.querySelector("pre");
  if (folded(window) || !text.clientHeight) return reached.get(window) ?? 0;
  const now = Math.min(1, (text.scrollTop + text.clientHeight + 2) / text.scrollHeight);
  reached.set(window, Math.max(now, reached.get(window) ?? 0));
  return reached.get(window);
}

function count() {
  let unseen = 0;
  for (const fold of all("details[data-lines]:not([open])")) if (!folded(fold)) unseen += Number(fold.dataset.lines);
  for (const window of all(".window")) {
    if (!folded(window)) unseen += Math.floor(Number(window.dataset.lines) * (1 - read(window)));
  }
  return unseen;
}

function update() {
  const unseen = count();
  for (const mark of marks) {
    const text = unseen ? ` (${unseen} of ${mark.dataset.total} not shown)` : "";
    if (mark.textContent !== text) mark.textContent = text;
  }
  for (const notice of document.querySelectorAll("[data-unseen-notice]")) {
    notice.hidden = unseen === 0;
    const words = `${unseen} of ${marks[0]?.dataset.total ?? "the"} lines are not shown`;
    if (marks.length && unseen) notice.querySelector("[data-unseen-words]").textContent = words;
  }
}

function showAll(event) {
  event.preventDefault();
  for (const place of places) place.classList.add("whole");
  for (const fold of all("details[data-lines]")) fold.open = true;
  update();
  places[0].setAttribute("tabindex", "-1");
  places[0].focus({ preventScroll: true });
}

for (const control of document.querySelectorAll("[data-show-all]")) control.addEventListener("click", showAll);
for (const place of places) {
  place.addEventListener("toggle", update, true);
  place.addEventListener("scroll", update, { capture: true, passive: true });
}
addEventListener("resize", update);
update();
