// Single-key shortcuts. A list is [data-keys-list] of [data-keys-item], each with a link [data-keys-open].
// In a list, `a` opens the address in the current item's data-key-a. Elsewhere it focuses the element with data-key="a".
// The help dialog can switch shortcuts off, for example for people who control the page by voice.

const SWITCH = "sagahold.keys";
const dialog = document.getElementById("keys");

const on = () => localStorage.getItem(SWITCH) !== "off";
const typing = (element) =>
  element.isContentEditable || element.closest("textarea, select, input:not([type=checkbox], [type=radio])") !== null;
const items = () => [...document.querySelectorAll("[data-keys-list] [data-keys-item]")];
const current = () => document.activeElement?.closest("[data-keys-item]") ?? null;

function move(step) {
  const all = items();
  if (!all.length) return;
  const at = all.indexOf(current());
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step));
  all[next].querySelector("[data-keys-open]").focus();
  all[next].scrollIntoView({ block: "nearest" });
}

function go(key) {
  if (items().length) {
    // Without a current item a key does nothing: it must not open a review that the person has not chosen.
    const address = current()?.getAttribute(`data-key-${key}`);
    if (address) location.assign(address);
    return;
  }
  const element = document.querySelector(`[data-key="${key}"]`);
  if (!element) return;
  element.closest("details")?.setAttribute("open", "");
  element.focus();
  element.scrollIntoView({ block: "center" });
}

function select() {
  current()?.querySelector("input[type=checkbox]")?.click();
}

function help() {
  dialog.showModal();
  dialog.querySelector("button").focus();
}

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  x: select,
  a: () => go("a"),
  r: () => go("r"),
  e: () => go("e"),
  "?": help,
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  const act = KEYS[event.key];
  if (!act || (!on() && event.key !== "?")) return;
  event.preventDefault();
  act();
});

// The address of a list's `a` ends in a fragment; focus its target. The browser scrolls to the fragment with the first
// frame after loading, and moves the focus away, so this waits until after that frame.
const TARGETS = { "#approve": "a", "#reject": "r", "#edit": "e" };
const arrive = () => requestAnimationFrame(() => setTimeout(go, 0, TARGETS[location.hash]));
if (location.hash in TARGETS) document.readyState === "complete" ? arrive() : addEventListener("load", arrive);

for (const opener of document.querySelectorAll("[data-keys-help]")) {
  opener.hidden = false;
  opener.addEventListener("click", help);
}
const choice = dialog.querySelector("[data-keys-on]");
choice.checked = on();
choice.addEventListener("change", () => localStorage.setItem(SWITCH, choice.checked ? "on" : "off"));
