// The address of a fresh link: one tap copies it, or hands it to the phone's own way of sending.

const box = document.querySelector("[data-share]");

if (box) {
  box.hidden = false;
  const address = box.dataset.share;
  const send = box.querySelector("[data-send]");
  send.hidden = !navigator.canShare?.({ url: address });
}

document.addEventListener("click", async (event) => {
  const field = event.target.closest("[data-select]");
  if (field) field.select();

  if (event.target.closest("[data-copy]")) say(await copied(box.dataset.share));

  if (event.target.closest("[data-send]")) {
    // Called off is no trouble: the address still stands there.
    await navigator
      .share({ title: box.dataset.title, url: box.dataset.share })
      .catch(() => {});
  }
});

async function copied(address) {
  try {
    await navigator.clipboard.writeText(address);
    return "Copied.";
  } catch {
    // Without https, or without leave: the address is selected, the rest is two keys.
    document.querySelector("[data-select]").select();
    return document.execCommand("copy") ? "Copied." : "It is selected: copy it by hand.";
  }
}

function say(words) {
  box.querySelector("[data-said]").textContent = words;
}
