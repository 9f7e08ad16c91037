/* data-copy="id" copies the value of that field. Without a clipboard to write to it stays hidden. */
const clipboard = navigator.clipboard;

for (const button of document.querySelectorAll("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  field.addEventListener("focus", () => field.select());
  button.hidden = !clipboard;
  button.addEventListener("click", async () => {
    field.select();
    await clipboard.writeText(field.value);
    button.textContent = "Copied";
  });
}
