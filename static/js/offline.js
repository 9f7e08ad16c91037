// What a device keeps for places without a link: keep, list, remove, and forget with the login.
//
// <div data-pack="address of what to keep">   in a menu: <button data-keep>, <… data-keep-note>
// <button data-keep-now>                      the same with one tap: it opens the menu, which tells
// <div data-packs>                            the list of what is kept, on the page "Offline"
// <html data-kept="moment">                   a page that came from what is kept; js/connection.js says so

import { reach } from "./connection.js";
import { say as refuse } from "./refusals.js";
import { ago, canKeep, day, forget, keep, look, megabytes, packOf, packs, remove, Trouble, user } from "./offline_copies.js";

const here = new Map(); // what there is to keep, by address

if (canKeep()) begin();
else document.querySelector("[data-keep-now]")?.remove();

async function begin() {
  for (const one of document.querySelectorAll("[data-pack], [data-keep-now]")) one.hidden = false;
  if (document.documentElement.dataset.kept && document.querySelector(".timeline")) {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  }
  if (user() === "") await forget(); // nobody is logged in (any more)
  else await packs(); // what has ended, or is another person's, goes
  list();
}

// ---- keep ------------------------------------------------------------------------------------

// As soon as the menu opens, it says how much that would be.
document.addEventListener("toggle", async (event) => {
  const pack = event.target.open && event.target.querySelector?.("[data-pack]:not([data-told])");
  if (!pack || !canKeep()) return;
  pack.dataset.told = "";
  try {
    const info = await asked(pack);
    const mine = await packOf(info.id);
    if (pack.querySelector("[data-keep][aria-disabled=true]")) return; // it is being kept already
    say(pack, mine ? `Kept ${ago(mine.saved)}, ${megabytes(mine.size)}` : `About ${megabytes(info.size)}`, mine);
  } catch {
    delete pack.dataset.told;
  }
}, true);

document.addEventListener("click", (event) => {
  const menu = event.target.closest("[data-keep-now]") && document.querySelector("details:has([data-pack])");
  if (!menu) return;
  menu.open = true;
  menu.querySelector("[data-keep]").click();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-keep]");
  if (!button || button.getAttribute("aria-disabled") === "true") return;
  const pack = button.closest("[data-pack]");
  button.setAttribute("aria-disabled", "true");
  say(pack, "Begins…");
  try {
    here.delete(pack.dataset.pack);
    const mine = await keep(await asked(pack), (done, all, bytes) => say(pack, `${done} of ${all} files, ${megabytes(bytes)}`));
    const lost = mine.missing ? ` ${mine.missing} files could not be kept.` : "";
    say(pack, `Kept, ${megabytes(mine.size)}, until ${day(mine.ends)}.${lost}`, mine);
  } catch (trouble) {
    say(pack, trouble instanceof Trouble ? trouble.message : "There is no link now. Try again where the signal is better.");
  }
  button.setAttribute("aria-disabled", "false");
});

async function asked(pack) {
  const address = pack.dataset.pack;
  if (!here.has(address)) here.set(address, await look(address));
  return here.get(address);
}

function say(pack, words, mine) {
  pack.querySelector("[data-keep-note]").textContent = words;
  if (mine) pack.querySelector("[data-keep-words]").textContent = "Update the offline copy";
}

// ---- the list --------------------------------------------------------------------------------

async function list() {
  const place = document.querySelector("[data-packs]");
  if (!place) return;
  const found = await packs();
  const row = place.querySelector("template").content;
  const rows = found.map((pack) => {
    const one = row.cloneNode(true);
    const link = one.querySelector("a");
    link.href = pack.page;
    link.textContent = pack.title;
    one.querySelector("[data-about]").textContent = `${megabytes(pack.size)}, kept ${ago(pack.saved)}, until ${day(pack.ends)}`;
    const button = one.querySelector("button");
    button.setAttribute("aria-label", `Remove the copy of ${pack.title}`);
    button.addEventListener("click", async () => {
      await remove(pack.name);
      await list();
      place.querySelector("button, [tabindex]")?.focus();
    });
    return one;
  });
  place.querySelector("ul").replaceChildren(...rows);
  place.querySelector("ul").hidden = rows.length === 0;
  place.querySelector("[data-none]").hidden = rows.length > 0;
  place.querySelector("[data-total]").textContent = rows.length > 1 ? `${megabytes(found.reduce((sum, one) => sum + one.size, 0))} in all` : "";
}

// ---- the end of a login ----------------------------------------------------------------------

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-logout]") || !canKeep()) return;
  event.preventDefault();
  try {
    await forget();
  } finally {
    const why = await reach();
    if (why) refuse(`${why} What was kept on this device is deleted. Logging out needs a connection: you are still logged in.`, event.submitter);
    else form.submit(); // the answer to it wipes once more
  }
});
