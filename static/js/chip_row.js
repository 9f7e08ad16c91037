// In a row of chips that is wider than the phone the chosen one is in sight.

for (const chips of document.querySelectorAll(".chips")) {
  const chosen = [...chips.querySelectorAll("[aria-current]")].at(-1);
  if (!chosen) continue;
  const middle = chosen.offsetLeft + chosen.offsetWidth / 2 - chips.offsetLeft;
  chips.scrollLeft = middle - chips.offsetWidth / 2;
}
