// Forms in which files are ticked ([data-ticks]): say how many, tick all at once.
// And fields whose Enter presses a button of their own ([data-enter]), not the form's first.

const boxesOf = (form) => [...form.querySelectorAll('input[type="checkbox"][name="media"]')];

function tell(form) {
  const boxes = boxesOf(form);
  const elsewhere = form.querySelectorAll("[data-ticked]").length;
  const ticked = boxes.filter((box) => box.checked).length + elsewhere;
  const count = form.querySelector("[data-tick-count]");
  if (count) count.textContent = ticked ? `${ticked} chosen` : count.dataset.tickCount;
  const all = form.querySelector("[data-tick-all]");
  if (all) all.textContent = boxes.every((box) => box.checked) ? "Select none" : "Select all";
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-ticks]");
  if (form) tell(form);
});

document.addEventListener("click", (event) => {
  const all = event.target.closest("[data-tick-all]");
  const form = all?.closest("form[data-ticks]");
  if (!form) return;
  event.preventDefault();
  const boxes = boxesOf(form);
  const wanted = !boxes.every((box) => box.checked);
  for (const box of boxes) box.checked = wanted;
  tell(form);
});

document.addEventListener("keydown", (event) => {
  const name = event.target.dataset?.enter;
  if (event.key !== "Enter" || !name || event.isComposing) return;
  event.preventDefault();
  document.getElementById(name)?.click();
});

// Also after "back": the browser restores ticks without a word.
const tellAll = () => document.querySelectorAll("form[data-ticks]").forEach(tell);
window.addEventListener("pageshow", tellAll);
document.addEventListener("viewer:appended", tellAll);
tellAll();
