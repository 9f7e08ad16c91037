// The conversation: older and newer messages on demand, without losing the place; the pill that
// says what came while one was reading above.

import { inPlace } from "./live.js";

const root = document.documentElement;
const timeline = document.querySelector(".timeline");
const pill = document.querySelector("[data-pill]");
const announcer = document.querySelector("[data-announcer]");
const NEAR = 80; // px from the end that still count as being there

// --- Places --------------------------------------------------------------------------------

export const articles = () => [...timeline.querySelectorAll("article[data-position]")];

export const isAtEnd = () => root.scrollHeight - scrollY - innerHeight < NEAR;

export const keepingPlace = (change) => inPlace(articles(), change);

// "<seconds>_<id>": compares as the rows in the database do.
export function isAfter(one, other) {
  const [first, id] = one.split("_");
  const [second, otherId] = other.split("_");
  return Number(first) === Number(second) ? id > otherId : Number(first) > Number(second);
}

// Puts an article where it belongs, below the heading of its day.
export function place(article, day) {
  const section = sectionOf(day);
  const next = [...section.querySelectorAll(":scope > article")]
    .find((other) => isAfter(other.dataset.position, article.dataset.position));
  let spot = next ?? null;
  if (spot?.previousElementSibling?.matches(".day__new")) spot = spot.previousElementSibling;
  section.insertBefore(article, spot);
}

function sectionOf(day) {
  const { date } = day.dataset;
  const here = timeline.querySelector(`.day[data-date="${date}"]`);
  if (here) return here;
  const section = day.cloneNode(false);
  section.append(day.querySelector(".day__name").cloneNode(true));
  const next = [...timeline.querySelectorAll(".day")].find((other) => other.dataset.date > date);
  timeline.insertBefore(section, next ?? null);
  timeline.querySelector(":scope > .empty")?.remove();
  return section;
}

export function say(element) {
  document.dispatchEvent(new CustomEvent("content:added", { detail: element }));
}

export function announce(words) {
  if (announcer) announcer.textContent = words;
}

// --- More, on demand -----------------------------------------------------------------------

// A kept page is shown where nothing can be fetched: its links lead to the other kept pages.
const isKept = "kept" in root.dataset;
let loading = null;

async function more(link) {
  if (loading) return;
  link.setAttribute("aria-busy", "true");
  loading = fetch(link.href, { headers: { Accept: "text/html" } });
  try {
    const answer = await loading;
    if (!answer.ok || answer.redirected) throw new TypeError(`${answer.status}`);
    add(new DOMParser().parseFromString(await answer.text(), "text/html"), link);
  } catch (trouble) {
    if (!(trouble instanceof TypeError)) throw trouble;
    announce("That did not load. Try again.");
    link.dataset.failed = "";
  } finally {
    loading = null;
    link.removeAttribute("aria-busy");
  }
}

function add(page, link) {
  const fetched = page.querySelector(".timeline");
  const next = page.querySelector(`[data-more="${link.dataset.more}"]`);
  const added = [];
  keepingPlace(() => {
    for (const day of fetched.querySelectorAll(".day")) {
      for (const article of [...day.querySelectorAll(":scope > article")]) {
        if (document.getElementById(article.id)) continue;
        place(article, day);
        added.push(article);
      }
    }
    if (next) link.href = next.href;
    else done(link);
  });
  timeline.dataset.etag = [timeline.dataset.etag, fetched.dataset.etag].filter(Boolean).join(" ");
  added.forEach(say);
  announce(`${added.length} ${link.dataset.more} message${added.length === 1 ? "" : "s"}`);
}

function done(link) {
  const paragraph = link.closest(".more");
  if (link.dataset.more === "newer") delete timeline.dataset.ends;
  if (paragraph.contains(document.activeElement)) document.getElementById("main").focus({ preventScroll: true });
  paragraph.remove();
}

// --- What came while one was reading above ---------------------------------------------------

const unseen = new Set();
const seeing = timeline && new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    unseen.delete(target);
    seeing.unobserve(target);
  }
  showPill();
});

// Tells of incoming messages: aloud, and by the pill until they are seen.
export function arrived(news) {
  const told = news.filter((article) => article.dataset.brings);
  if (!told.length) return;
  announce(`${inWords(told)}.`);
  for (const article of told) {
    unseen.add(article);
    seeing.observe(article);
  }
}

export function newerElsewhere() {
  if (!pill) return;
  const link = pill.querySelector(".pill__button");
  link.textContent = "New messages";
  link.href = document.querySelector("[data-newest]").href;
  pill.hidden = false;
}

function showPill() {
  for (const gone of [...unseen].filter((article) => !article.isConnected)) unseen.delete(gone);
  if (timeline.hasAttribute("data-ends")) return;
  pill.hidden = unseen.size === 0;
  if (unseen.size) pill.querySelector(".pill__button").textContent = inWords([...unseen]);
}

// 1 new photo, 2 new voicemails, 3 new messages
function inWords(news) {
  const brought = news.flatMap((article) => article.dataset.brings.split(" "));
  const alike = new Set(brought).size === 1;
  const [word, count] = alike ? [brought[0], brought.length] : ["message", news.length];
  return `${count} new ${word}${count === 1 ? "" : "s"}`;
}

function showFirstUnseen() {
  const [first] = [...unseen].sort((a, b) => (isAfter(a.dataset.position, b.dataset.position) ? 1 : -1));
  first?.scrollIntoView({ block: "start", behavior: calm() ? "instant" : "smooth" });
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// --- Hands ---------------------------------------------------------------------------------

function show(article) {
  history.replaceState(history.state, "", `#${article.id}`);
  article.scrollIntoView({ block: "nearest", behavior: calm() ? "instant" : "smooth" });
  mark(article);
}

// As :target does for a page that opens there.
function mark(article) {
  article.classList.remove("is-marked");
  requestAnimationFrame(() => article.classList.add("is-marked"));
  article.addEventListener("animationend", () => article.classList.remove("is-marked"), { once: true });
}

if (timeline) {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target.closest("a");
    if (!link) return;
    if (link.dataset.more) {
      if (isKept) return;
      event.preventDefault();
      more(link);
    } else if (link.matches(".message__time")) {
      event.preventDefault(); // its address is for copying; here it is on the page already
      show(link.closest("article"));
    } else if (link.closest("[data-pill]") && !timeline.hasAttribute("data-ends")) {
      event.preventDefault();
      showFirstUnseen();
    }
  });

  const nearby = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      const link = target.querySelector("[data-more]");
      if (!("failed" in link.dataset)) more(link).then(() => again(target));
    }
  }, { rootMargin: "600px 0px" });
  // What is still near after one more page came asks for the next.
  const again = (target) => { nearby.unobserve(target); if (target.isConnected) nearby.observe(target); };
  if (!isKept) for (const paragraph of document.querySelectorAll(".more:has([data-more])")) nearby.observe(paragraph);

  // Paper has no scrolling: what was to come on demand comes now.
  addEventListener("beforeprint", () => {
    for (const image of timeline.querySelectorAll("img[loading=lazy]")) image.loading = "eager";
  });
}
