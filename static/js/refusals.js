// Without a connection, what was tapped says so, and stays where it was: no page of the browser's
// takes its place, and nothing that was typed, ticked or scrolled to is lost.
//
// Before a form is sent the server is asked whether it is there. Where it is not, nothing was sent,
// and so nothing was changed. Where a request went out and no answer came, nobody knows: that is
// said, too. What may be done twice without harm is sent so that the page can stay.

import { isDoubtful, isSure, OFFLINE, reach, silent } from "./connection.js";

const SENDING = 30_000; // ms for the answer to a form
const DOWN = [502, 503, 504];

// Address, what somebody does there, and whether its answer is a way on, as that of all that
// may be done twice: then the page waits for it.
const DOINGS = [
  [/^\/read(\/undo)?$/, "Marking as read", true],
  [/\/unread$/, "Marking as unread", true],
  [/\/attempts$/, "Trying again", true],
  [/\/(closing|reopening)$/, "Closing a file", true],
  [/\/(acceptance(\/withdrawal)?|refusal)$/, "Judging a file", true],
  [/\/caption$/, "Saving a caption", true],
  [/\/checks$/, "Checking", true],
  [/\/restoration$/, "Restoring", true],
  [/^\/media\/.*\/trash$/, "Putting a file in the trash", true],
  [/\/purges$/, "Deleting", true],
  [/\/readings$/, "Reading a delivery again", true],
  [/^\/unfiled\/(not-)?needed$/, "Marking", true],
  [/^\/forgotten\/.*\/revocation$/, "Keeping a customer", true],
  [/\/held\/archive$/, "Downloading", false],
  [/\/forgetting$/, "Forgetting a customer", true],
  [/\/consent$/, "Saving", true],
  [/\/revocation$/, "Revoking a link", true],
  [/^\/shares/, "Sharing", false],
  [/\/zip$/, "Downloading", false],
  [/^\/work\/link$/, "Linking", true],
  [/^\/work\/link\/undo$/, "Undoing", true],
  [/^\/work\/unlink$/, "Unlinking", true],
  [/^\/work\/(link\/|.*\/pick$)/, "Linking", false],
  [/\/(un)?archive$/, "Archiving", true],
  [/\/status$/, "Changing the status", true],
  [/\/files$/, "Saving the order and captions", true],
  [/\/customer$/, "Choosing a customer", false],
  [/^\/(work|account|users|invitations)\b/, "Saving", false],
  [/^\/(login|s\/)/, "Logging in", false],
];

const LINKS = [
  [/^\/work\/link\//, "Linking"],
  [/^\/shares\/new/, "Sharing"],
  [/^\/work\/[^/]+\/(edit|new)$/, "Editing"],
  [/\/trash$/, "Putting a file in the trash"],
];

const asked = new WeakSet(); // forms whose server answered just now
const busy = new WeakSet();

function doingOf(address, table) {
  const { pathname } = new URL(address, location.href);
  const [, words, stays] = table.find(([pattern]) => pattern.test(pathname)) ?? [null, "", false];
  return { words, stays };
}

const addressOf = (form, submitter) => submitter?.getAttribute("formaction") || form.getAttribute("action") || location.href;
const methodOf = (form, submitter) => (submitter?.getAttribute("formmethod") || form.getAttribute("method") || "get").toLowerCase();

// ---- forms -----------------------------------------------------------------------------------

// Before anybody else hears of it.
addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  if (form.matches("[data-logout]")) return; // js/offline.js
  const isPost = methodOf(form, submitter) === "post";
  if (asked.delete(form)) return;
  if (isPost ? isSure() : !isDoubtful()) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (busy.has(form)) return;
  busy.add(form);
  const why = await reach();
  await new Promise((done) => { setTimeout(done); }); // a form is deaf while its event goes on
  busy.delete(form);
  if (why && !(!isPost && await hasCopy("/offline"))) {
    const { words } = doingOf(addressOf(form, submitter), DOINGS);
    say(refused(why, isPost ? words || "This" : "Searching"), submitter ?? form);
    return;
  }
  asked.add(form);
  form.requestSubmit(submitter?.isConnected ? submitter : undefined);
}, true);

// After everybody else: what nobody took is sent.
addEventListener("submit", async (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented || methodOf(form, submitter) !== "post" || form.matches("[data-logout]")) return;
  const address = addressOf(form, submitter);
  const { words, stays } = doingOf(address, DOINGS);
  if (!stays || form.enctype === "multipart/form-data") return;
  event.preventDefault();
  if (busy.has(form)) return;
  busy.add(form);
  const fields = new FormData(form, submitter);
  try {
    const answer = await fetch(address, {
      method: "POST",
      body: new URLSearchParams([...fields].filter(([, value]) => typeof value === "string")),
      headers: { Accept: "text/html", "X-Follow": "no" },
      signal: AbortSignal.timeout(SENDING),
    });
    const next = answer.headers.get("X-Location");
    if (next) go(next);
    else if (DOWN.includes(answer.status)) sayUnknown(words, submitter ?? form);
    else { // refused, with a page that says why: the browser shows it; doing it twice does no harm
      if (submitter?.name) form.append(Object.assign(document.createElement("input"), { type: "hidden", name: submitter.name, value: submitter.value }));
      form.action = address;
      form.submit();
    }
  } catch (trouble) {
    if (!(trouble instanceof TypeError || trouble instanceof DOMException)) throw trouble;
    silent();
    sayUnknown(words, submitter ?? form);
  } finally {
    busy.delete(form);
  }
});

function go(address) {
  const next = new URL(address, location.href);
  if (next.hash && next.href.split("#")[0] === location.href.split("#")[0]) {
    history.replaceState(history.state, "", next); // a hash alone would load nothing
    location.reload();
  } else {
    location.assign(next);
  }
}

// ---- links -----------------------------------------------------------------------------------

addEventListener("click", async (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || !isDoubtful()) return;
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.target) return;
  const address = new URL(link.href, location.href);
  if (address.origin !== location.origin || !address.protocol.startsWith("http")) return;
  if (address.hash && address.href.split("#")[0] === location.href.split("#")[0]) return;
  event.preventDefault();
  const { words } = doingOf(address, LINKS);
  // A kept page opens; beyond those, one of ours says what is kept.
  if (await hasCopy(address.href) || (!words && !link.hasAttribute("download") && await hasCopy("/offline"))) {
    location.assign(address);
    return;
  }
  const why = await reach();
  if (why) say(refused(why, words || (link.hasAttribute("download") ? "Downloading" : "Opening this")), link);
  else if (link.hasAttribute("download")) link.click();
  else location.assign(address);
});

const hasCopy = async (address) => "caches" in globalThis && Boolean(await caches.match(address, { ignoreVary: true }));

// ---- the words -------------------------------------------------------------------------------

const refused = (why, doing) => (why === OFFLINE ? `${why} ${doing} needs one; nothing was changed.` : `${why} ${doing} needs it; nothing was changed.`);

/** A request went out, and nobody knows what became of it. */
export function sayUnknown(doing, at) {
  say(`The server did not answer in time. It is not known whether ${doing ? `“${doing}”` : "this"} was done. Doing it again does no harm.`, at);
}

let place = null;

/** Says it above everything, and leaves the page as it is. */
export function say(words, at) {
  place?.remove();
  place = document.createElement("div");
  place.className = "refusal";
  place.setAttribute("role", "alert");
  const line = document.createElement("p");
  const close = Object.assign(document.createElement("button"), { type: "button", className: "refusal__close", textContent: "OK" });
  close.addEventListener("click", () => {
    place.remove();
    at?.focus?.({ preventScroll: true });
  });
  place.append(line, close);
  (at?.closest?.("dialog[open]") ?? document.body).append(place);
  line.textContent = words; // in an alert that is there already
  stand(at?.getBoundingClientRect?.());
}

/** Beside what was tapped, so that it stays in sight: above it in the lower half of the window. */
function stand(box) {
  const { innerHeight } = window;
  if (!box || box.bottom < 0 || box.top > innerHeight) return; // css/offline.css: near the thumb
  const isLow = box.top + box.height / 2 > innerHeight / 2;
  place.style.inset = isLow ? `auto var(--space-4) ${innerHeight - box.top + 8}px` : `${box.bottom + 8}px var(--space-4) auto`;
}

addEventListener("online", () => place?.remove());
