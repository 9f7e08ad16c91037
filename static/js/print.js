// Buttons that print the page: <button data-print hidden>. Without this, the browser's menu does.

for (const button of document.querySelectorAll("[data-print]")) button.hidden = false;

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});
