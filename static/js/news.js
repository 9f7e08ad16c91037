// New messages of an open conversation, and what became of those on it: put in place, so that
// nothing that plays, is typed in or is open is disturbed.

import { poll } from "./live.js";
import { sayUnknown } from "./refusals.js";
import { arrived, articles, calm, isAfter, isAtEnd, keepingPlace, newerElsewhere, place, say } from "./timeline.js";

const timeline = document.querySelector(".timeline[data-news]");
const waiting = new Map(); // id → how an article is to look once nobody is at it any more
let latest = null;
let asked = null; // the end of what the answer on its way is about

function ask() {
  const here = articles();
  const url = new URL(timeline.dataset.news, location);
  // Without older messages it begins where the conversation begins, wherever that will be.
  const hasOlder = document.querySelector('[data-more="older"]');
  if (here.length && hasOlder) url.searchParams.set("since", here[0].dataset.position);
  if ("ends" in timeline.dataset && here.length) url.searchParams.set("until", here.at(-1).dataset.position);
  asked = url.searchParams.get("until");
  // A page that was loaded in several parts has an ETag of each.
  const etags = (timeline.dataset.etag ?? "").split(" ").filter(Boolean).map((tag) => `W/"${tag}"`);
  return { url, etags: etags.join(", ") };
}

function take(html, etag) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const news = page.querySelector("[data-ids]");
  if (!news) return;
  const follows = isAtEnd() && !("ends" in timeline.dataset);
  const came = [];
  const change = () => {
    for (const day of news.querySelectorAll(".day")) {
      for (const article of [...day.querySelectorAll(":scope > article")]) {
        if (!settle(article, day)) came.push(article);
      }
    }
    drop(news.dataset);
  };
  if (follows) change();
  else keepingPlace(change);
  timeline.dataset.etag = etag?.replace(/^W\/|"|:\w+(?="$)/g, "") ?? "";
  came.forEach(say);
  if (follows && came.length) follow(came[0]);
  arrived(came);
  if (latest && latest !== news.dataset.latest && "ends" in timeline.dataset) newerElsewhere();
  latest = news.dataset.latest;
}

// Down to the end, but not past the beginning of what is new.
function follow(first) {
  const end = document.documentElement.scrollHeight - innerHeight;
  const top = scrollY + first.getBoundingClientRect().top - 96;
  scrollTo({ top: Math.min(end, top), behavior: calm() ? "instant" : "smooth" });
}

// An article that is here becomes like the fresh one; whether it was here.
function settle(fresh, day) {
  const mine = document.getElementById(fresh.id);
  if (!mine) {
    place(fresh, day);
    return false;
  }
  if (mine.dataset.position !== fresh.dataset.position && !isBusy(mine)) {
    mine.dataset.position = fresh.dataset.position;
    place(mine, day);
  }
  update(mine, fresh);
  return true;
}

// Messages that stand elsewhere now.
function drop({ ids, from }) {
  const there = new Set(ids.trim().split(" "));
  for (const article of articles()) {
    const { position } = article.dataset;
    // Older and newer ones may have been loaded while the answer was on its way.
    const isWatched = !(from && isAfter(from, position)) && !(asked && isAfter(position, asked));
    if (isWatched && !there.has(article.id.slice(8, 16)) && !isBusy(article)) article.remove();
  }
  for (const day of timeline.querySelectorAll(".day:not(:has(article))")) day.remove();
}

// --- One article ---------------------------------------------------------------------------

function update(mine, fresh) {
  if (mine.dataset.version === fresh.dataset.version) return;
  const isWhole = mine.dataset.words === fresh.dataset.words && idsOf(mine) === idsOf(fresh)
    ? updateParts(mine, fresh)
    : updateAll(mine, fresh);
  if (!isWhole) {
    waiting.set(mine.id, fresh);
    return;
  }
  waiting.delete(mine.id);
  mine.className = fresh.className;
  Object.assign(mine.dataset, fresh.dataset);
}

// Only files changed, or what is said of their safety and delivery.
function updateParts(mine, fresh) {
  const versions = versionsOf(fresh);
  const old = versionsOf(mine);
  const figures = figuresOf(mine);
  if (figures.length !== old.length) return updateAll(mine, fresh);
  let isWhole = true;
  for (const [index, figure] of figuresOf(fresh).entries()) {
    if (old[index] === versions[index]) continue;
    if (isBusy(figures[index])) {
      isWhole = false;
      continue;
    }
    swap(figures[index], figure.cloneNode(true));
    old[index] = versions[index];
  }
  mine.dataset.files = old.join(" ");
  swap(mine.querySelector(":scope > footer"), fresh.querySelector(":scope > footer").cloneNode(true));
  return isWhole;
}

// Everything but the files that did not change: those stay the very elements, and go on playing.
function updateAll(mine, fresh) {
  if (isTypedIn(mine)) return false;
  const kept = keptOf(mine, fresh);
  if (!kept) return false;
  const focus = pathOfFocus(mine);
  const opened = [...mine.querySelectorAll("details[open]")].map((details) => details.className);
  const added = [];
  rebuild(mine, fresh.cloneNode(true), kept, added);
  for (const details of mine.querySelectorAll("details")) {
    if (opened.includes(details.className)) details.open = true;
  }
  refocus(mine, focus);
  added.forEach(say);
  return true;
}

// Which figures stay, by id. null: one that should change or go is busy.
function keptOf(mine, fresh) {
  const wanted = versionsOf(fresh);
  const versions = versionsOf(mine);
  const figures = figuresOf(mine);
  const kept = new Map();
  for (const [index, figure] of figures.entries()) {
    if (wanted.includes(versions[index])) kept.set(versions[index].slice(0, 8), figure);
    else if (isBusy(figure)) return null;
  }
  // A figure that plays cannot be moved, only left where it is; two in another order would have to.
  const order = wanted.map((version) => version.slice(0, 8)).filter((id) => kept.has(id));
  if (order.join() !== [...kept.keys()].join()) return isBusy(mine) ? null : new Map();
  return kept;
}

function rebuild(mine, fresh, kept, added) {
  const ids = idsOf(fresh).split(" ");
  const stays = new Map(figuresOf(fresh).map((figure, index) => [figure, kept.get(ids[index])]));
  patch(mine, fresh, stays, added);
}

// `stays`: fresh figure → the one here that takes its place.
function patch(mine, fresh, stays, added) {
  const keepers = [...mine.children].filter((child) => [...stays.values()].some((figure) => figure && child.contains(figure)));
  for (const child of [...mine.children]) if (!keepers.includes(child)) child.remove();
  let cursor = mine.firstElementChild;
  for (const child of [...fresh.children]) {
    const figure = [...stays.keys()].find((one) => child.contains(one) && stays.get(one));
    const keeper = figure && keepers.find((one) => one.contains(stays.get(figure)));
    if (!keeper || keeper !== cursor) {
      mine.insertBefore(child, cursor);
      added.push(child);
      continue;
    }
    cursor = keeper.nextElementSibling;
    if (keeper !== stays.get(figure)) {
      keeper.className = child.className;
      patch(keeper, child, stays, added);
    }
  }
}

function swap(old, fresh) {
  const focus = pathOfFocus(old);
  old.replaceWith(fresh);
  refocus(fresh, focus);
  say(fresh);
}

const figuresOf = (article) => [...article.querySelectorAll("figure.media")];
const versionsOf = (article) => (article.dataset.files ? article.dataset.files.split(" ") : []);
const idsOf = (article) => versionsOf(article).map((version) => version.slice(0, 8)).join(" ");

// --- Whoever is at it ----------------------------------------------------------------------

const isPlaying = (part) => [...part.querySelectorAll("audio, video")].some((media) => !media.paused && !media.ended);
const isTypedIn = (part) => part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
const isBusy = (part) => isPlaying(part) || isTypedIn(part) || part.querySelector("dialog[open]") !== null;

const pathOfFocus = (part) => (part.contains(document.activeElement) ? document.activeElement : null);

// The focus was on something that was replaced: it goes to its like, else to the first there is.
function refocus(part, old) {
  if (!old || old.isConnected) return;
  const likes = [...part.querySelectorAll("a[href], button, summary, audio, video")];
  const target = likes.find((one) => one.tagName === old.tagName && one.className === old.className) ?? likes[0]
    ?? part.closest("article")?.querySelector("a[href]");
  target?.focus({ preventScroll: true });
}

function tryAgain() {
  for (const [id, fresh] of waiting) {
    const mine = document.getElementById(id);
    if (mine) keepingPlace(() => update(mine, fresh));
    else waiting.delete(id);
  }
}

if (timeline) {
  const now = poll(ask, take);
  for (const event of ["pause", "ended", "focusout"]) {
    document.addEventListener(event, () => { if (waiting.size) setTimeout(tryAgain); }, true);
  }

  // "Try again" without leaving the page.
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.closest(".timeline") || !form.matches('[action$="/attempts"]')) return;
    event.preventDefault();
    if ("sent" in form.dataset) return;
    form.dataset.sent = ""; // not by disabling the button: that would take the focus from it
    try {
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), redirect: "manual" });
      if (answer.type !== "opaqueredirect") throw new TypeError(`${answer.status}`);
      await now();
    } catch (trouble) {
      if (!(trouble instanceof TypeError)) throw trouble;
      sayUnknown("Trying again", form);
    } finally {
      delete form.dataset.sent;
    }
  });
}
