// A fresh link can be handed to the phone's own way of sending, where it has one.
const button = document.querySelector("[data-send]");

if (button) {
  const wanted = { title: button.dataset.title, url: button.dataset.send };
  button.hidden = !navigator.canShare?.(wanted);
  // Called off is no trouble: the address still stands there.
  button.addEventListener("click", () => navigator.share(wanted).catch(() => {}));
}
