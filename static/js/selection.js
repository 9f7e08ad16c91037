// Choosing several files: tap, drag a range with Shift, hold on a touch screen, or all of them.
//
// <form data-selection data-ids="…">      the checkboxes are named "media"
//   <button data-selection-mode>          then a tap selects instead of opening
//   <a data-selection-all>                everything, also what is not on the page yet
//   <… data-selection-bar>                what can be done with them; there while some are chosen
//   <… data-selection-count>, <button data-selection-none>

const HELD = "input[type=hidden][name=media]"; // selected, but not on the page yet
const CHECKS = "input[type=checkbox][name=media]";

let last = null; // the checkbox that was changed last: where a range begins

const checks = (form) => [...form.querySelectorAll(CHECKS)];
const formOf = (node) => node.closest?.("form[data-selection]");

function start(form) {
  if (form.classList.contains("is-choosable")) return;
  form.classList.add("is-choosable");
  for (const tool of form.querySelectorAll("[data-selection-mode], [data-selection-none]")) tool.hidden = false;
  show(form);
}

function show(form) {
  const count = form.querySelectorAll(`${CHECKS}:checked, ${HELD}`).length;
  const choosing = form.classList.contains("is-choosing") || count > 0;
  form.classList.toggle("has-chosen", count > 0);
  document.body.classList.toggle("has-selection", choosing);
  const bar = form.querySelector("[data-selection-bar]");
  bar.hidden = !choosing;
  for (const button of bar.querySelectorAll("[formaction]")) button.disabled = count === 0;
  form.querySelector("[data-selection-count]").textContent = count ? `${count.toLocaleString("en-US")} selected` : "Nothing selected";
  const mode = form.querySelector("[data-selection-mode]");
  mode?.setAttribute("aria-pressed", String(choosing));
  if (mode) mode.textContent = choosing ? "Done" : "Select";
}

function none(form) {
  for (const check of checks(form)) check.checked = false;
  for (const held of form.querySelectorAll(HELD)) held.remove();
  form.classList.remove("is-choosing");
  last = null;
  show(form);
}

function hold(form, ids) {
  const here = new Map(checks(form).map((check) => [check.value, check]));
  const held = new Set([...form.querySelectorAll(HELD)].map((field) => field.value));
  for (const id of ids) {
    if (here.has(id)) here.get(id).checked = true;
    else if (!held.has(id)) form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "media", value: id }));
  }
}

async function all(form) {
  for (const check of checks(form)) check.checked = true;
  form.classList.add("is-choosing");
  show(form);
  if (!document.querySelector("[data-older]") || !form.dataset.ids) return;
  const answer = await fetch(form.dataset.ids, { headers: { Accept: "application/json" } });
  if (!answer.ok) return; // what is on the page is selected
  const found = await answer.json();
  hold(form, found.ids);
  show(form);
  if (found.more) form.querySelector("[data-selection-count]").textContent += " (the newest)";
}

function range(form, from, to, state) {
  const inOrder = checks(form);
  const [a, b] = [inOrder.indexOf(from), inOrder.indexOf(to)].sort((x, y) => x - y);
  if (a >= 0) for (const check of inOrder.slice(a, b + 1)) check.checked = state;
}

const checkOf = (node) => node.closest?.("[data-tile]")?.querySelector(CHECKS);

function toggle(form, check, withShift) {
  check.checked = !check.checked;
  if (withShift && last) range(form, last, check, check.checked);
  last = check;
  show(form);
}

// Before anybody else hears of the click: while choosing, a picture is selected and not opened.
document.addEventListener("click", (event) => {
  const form = formOf(event.target);
  if (!form) return;
  const plain = !(event.ctrlKey || event.metaKey || event.altKey);
  if (event.target.closest("[data-selection-all]") && plain) {
    event.preventDefault();
    all(form);
  } else if (event.target.closest("[data-selection-none]")) {
    none(form);
  } else if (event.target.closest("[data-selection-mode]")) {
    if (form.classList.contains("is-choosing") || form.classList.contains("has-chosen")) none(form);
    else form.classList.add("is-choosing");
    show(form);
  } else if (event.target.matches(CHECKS)) {
    if (event.shiftKey && last) range(form, last, event.target, event.target.checked);
    last = event.target;
    show(form);
  } else if (plain && event.target.closest("[data-tile] a") && (form.classList.contains("is-choosing") || form.classList.contains("has-chosen"))) {
    const check = checkOf(event.target);
    event.preventDefault();
    event.stopImmediatePropagation();
    if (check) toggle(form, check, event.shiftKey);
  }
}, true);

// Held for a moment on a touch screen, a picture is the first one selected.
document.addEventListener("contextmenu", (event) => {
  const form = formOf(event.target);
  const check = form && event.pointerType === "touch" && checkOf(event.target);
  if (!check) return;
  event.preventDefault();
  if (!check.checked) toggle(form, check, false);
});

document.addEventListener("keydown", (event) => {
  const form = formOf(event.target) ?? document.querySelector("form[data-selection]");
  if (!form || event.defaultPrevented) return;
  if (event.key === "Escape" && document.body.classList.contains("has-selection") && !document.querySelector("dialog[open]")) none(form);
  // Enter would press the form's first button, which is a download.
  if (event.key === "Enter" && event.target.matches(CHECKS)) {
    event.preventDefault();
    toggle(form, event.target, event.shiftKey);
  }
});

document.addEventListener("content:added", () => {
  for (const form of document.querySelectorAll("form[data-selection]")) {
    for (const field of form.querySelectorAll(HELD)) {
      const check = form.querySelector(`${CHECKS}[value="${CSS.escape(field.value)}"]`);
      if (!check) continue;
      check.checked = true;
      field.remove();
    }
    show(form);
  }
});

// A page that comes back from the browser's memory, or whose fields it remembers.
addEventListener("pageshow", () => document.querySelectorAll("form[data-selection]").forEach(show));

document.querySelectorAll("form[data-selection]").forEach(start);
