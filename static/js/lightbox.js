// Opens photos and videos over the page.
//
// A photo is <a data-slide="its id" href="its preview"> inside an element with data-slides="the
// address of the list it belongs to" (viewer/web/media/slides.py). It opens at once with what the page
// holds; the list brings the rest, also what is on no page yet. Without this module the links
// lead to the pictures.
//
// Here are only the doors: a tap, an address, Back. The dialog (lightbox_dialog.js) and PhotoSwipe are
// fetched once the page is there.
//
// On the document: `lightbox:opened` (detail: the dialog) and `lightbox:closed`.

import { HASH, thumbnailOf } from "./photo_link.js";

const VENDOR = "../vendor/photoswipe/";
let coming = null;
let open = null; // the Lightbox on screen, or true while it comes

function everything() {
  coming ??= Promise.all([
    import(`${VENDOR}photoswipe.esm.min.js`),
    import("./lightbox_dialog.js"),
    import("./lightbox_slides.js"),
    looks(),
  ])
    .then(([{ default: PhotoSwipe }, { Lightbox }, { Reel }]) => ({ PhotoSwipe, Lightbox, Reel }))
    .catch((trouble) => {
      coming = null; // the next tap tries again
      throw trouble;
    });
  return coming;
}

function looks() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL(`${VENDOR}photoswipe.css`, import.meta.url);
  return new Promise((done, failed) => {
    link.addEventListener("load", done);
    link.addEventListener("error", () => {
      link.remove();
      failed(new Error("no stylesheet"));
    });
    document.head.prepend(link); // before our own, which have the last word
  });
}

async function show(list, id, fallback) {
  if (open) return;
  open = true; // one tap, one lightbox, however slow the modules
  let parts;
  try {
    parts = await everything();
  } catch {
    open = null;
    if (fallback) location.assign(fallback);
    return;
  }
  const reel = new parts.Reel(list.dataset.slides, [...list.querySelectorAll("a[data-slide]")]);
  if (reel.indexOf(id) < 0) {
    // A photo of an older page, opened by its address.
    try {
      await reel.locate(id);
    } catch {
      open = null;
      return;
    }
  }
  const here = location.hash === HASH + id;
  const mode = history.scrollRestoration;
  if (!here) {
    history.scrollRestoration = "manual"; // Back closes the lightbox; the page stays where it is
    try {
      history.pushState({ lightbox: true }, "", HASH + id);
    } catch {
      history.scrollRestoration = mode; // too many for Safari, see lightbox_dialog.js: it opens, and Back leaves the page
    }
  }
  open = new parts.Lightbox(parts.PhotoSwipe, reel, id, history.state?.lightbox === true);
  open.mode = mode;
  open.start();
}

document.addEventListener("lightbox:closed", () => {
  open = null;
});

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest("a[data-slide]");
  const list = link?.closest("[data-slides]");
  if (!list) return;
  event.preventDefault();
  show(list, link.dataset.slide, link.href);
});

addEventListener("popstate", () => {
  if (open?.pswp) {
    if (!location.hash.startsWith(HASH)) {
      open.leave();
      history.scrollRestoration = open.mode ?? "auto";
    }
    return;
  }
  history.scrollRestoration = "auto";
  openByAddress();
});

/** An address with a photo in it: reloaded, sent to a colleague, or Forward. */
function openByAddress() {
  if (!location.hash.startsWith(HASH)) return;
  const id = location.hash.slice(HASH.length);
  const list = thumbnailOf(id)?.closest("[data-slides]") ?? document.querySelector("[data-slides]");
  if (list) show(list, id);
}

openByAddress();

// Fetched ahead of the first tap, but behind everything that is looked at now.
function fetchAhead() {
  if (!document.querySelector("a[data-slide]") || navigator.connection?.saveData) return;
  (globalThis.requestIdleCallback ?? setTimeout)(() => everything().catch(() => {}));
}

if (document.readyState === "complete") fetchAhead();
else addEventListener("load", fetchAhead);
