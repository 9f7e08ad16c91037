// Asks for news while somebody looks: every few seconds, at once on return, never when hidden or
// offline. What did not change costs a 304.
//
//   data-live="<address>"   a list whose children, known by their id, are kept as they are there

import { heard, silent } from "./connection.js";

const PERIOD = 4_000;
const LONGEST = 60_000; // between tries of a server that does not answer
const PATIENCE = 20_000;

// `ask` returns {url, etags}; `take` gets the HTML and its ETag. Returns a function that asks for
// how things are from now on: an answer that is on its way already does not count.
export function poll(ask, take) {
  let timer = 0;
  let failures = 0;
  let over = false;
  let asking = null;

  const pause = () => Math.min(PERIOD * 2 ** failures, LONGEST) * (failures ? 0.5 + Math.random() / 2 : 1);
  const mayAsk = () => !over && !document.hidden && navigator.onLine;

  function later() {
    clearTimeout(timer);
    if (mayAsk()) timer = setTimeout(now, pause());
  }

  function now() {
    clearTimeout(timer);
    if (mayAsk()) asking ??= once().finally(() => { asking = null; later(); });
    return asking ?? Promise.resolve();
  }

  async function once() {
    const { url, etags } = ask();
    let answer;
    try {
      answer = await fetch(url, {
        headers: etags ? { "If-None-Match": etags } : {},
        cache: "no-store",
        signal: AbortSignal.timeout(PATIENCE),
      });
      if (answer.ok) await take(await answer.text(), answer.headers.get("ETag"));
    } catch (trouble) {
      if (!(trouble instanceof TypeError || trouble instanceof DOMException)) throw trouble;
      failures += 1; // the network's; ours would be seen on the console
      silent();
      return;
    }
    if (answer.ok || answer.status === 304) heard(true);
    else if (answer.status >= 500) silent();
    if (answer.status === 401) stop("You are logged out.", "Log in again");
    else if (answer.status === 404 || answer.status === 403) stop("This is no longer here.", "Load the page again");
    else failures = answer.ok || answer.status === 304 ? 0 : failures + 1;
  }

  function stop(words, doing) {
    over = true;
    tell(words, doing);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : now()));
  addEventListener("online", () => { failures = 0; now(); });
  addEventListener("offline", () => clearTimeout(timer));
  addEventListener("pageshow", (event) => { if (event.persisted) now(); });
  later();
  return async () => {
    await asking;
    await now();
  };
}

// The page goes on showing what it has; this says why nothing new comes.
function tell(words, doing) {
  const place = document.querySelector("[data-live-state]");
  if (!place || !place.hidden) return;
  const link = document.createElement("a");
  link.href = location.href;
  link.textContent = doing;
  place.replaceChildren(`${words} `, link);
  place.hidden = false;
}

// Changes the page without moving what is being read: the first of `parts` in sight that stays.
export function inPlace(parts, change) {
  const places = [...parts].map((part) => [part, part.getBoundingClientRect()]).filter(([, { bottom }]) => bottom > 0);
  const { style } = document.documentElement;
  style.overflowAnchor = "none"; // browsers that would do the same must not do it twice
  change();
  const [anchor, was] = places.find(([part]) => part.isConnected) ?? [];
  const moved = anchor ? anchor.getBoundingClientRect().top - was.top : 0;
  if (moved) scrollBy({ top: moved, behavior: "instant" });
  requestAnimationFrame(() => { style.overflowAnchor = ""; });
}

function watch(list) {
  let etag = "";
  poll(
    () => ({ url: list.dataset.live, etags: etag }),
    (html, tag) => {
      etag = tag ?? "";
      const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("[data-live]");
      if (!fresh) return;
      const change = () => refresh(list, fresh);
      if (scrollY > 0) inPlace(list.querySelectorAll("li"), change);
      else change(); // at the top, what is new is to be seen
    },
  );
}

// The same children in the same places as in `fresh`; those that are alike stay the very same.
function refresh(list, fresh) {
  const here = new Map([...list.children].map((child) => [keyOf(child), child]));
  const focused = document.activeElement;
  let cursor = list.firstElementChild;
  for (const wanted of [...fresh.children]) {
    const mine = here.get(keyOf(wanted));
    here.delete(keyOf(wanted));
    if (mine && isList(mine)) refresh(mine, wanted);
    const shown = mine && (isList(mine) || mine.isEqualNode(wanted)) ? mine : wanted;
    if (shown !== cursor) list.insertBefore(shown, cursor);
    else cursor = cursor.nextElementSibling;
    if (mine && shown !== mine) {
      if (cursor === mine) cursor = mine.nextElementSibling;
      if (mine.contains(focused)) shown.querySelector("a, button")?.focus({ preventScroll: true });
      mine.remove();
    }
    if (shown !== mine) document.dispatchEvent(new CustomEvent("content:added", { detail: shown }));
  }
  for (const gone of here.values()) gone.remove();
}

const isList = (child) => child.matches("ol, ul");
const keyOf = (child) => (isList(child) ? child.className : child.id || child.querySelector("a")?.getAttribute("href") || child.textContent);

for (const list of document.querySelectorAll("[data-live]")) watch(list);
