// Whether there is a connection, and what of the page that makes untrue.
//
//   <… data-offline-bar>   under the header: that there is none, and from when the page is
//
// `heard()` and `silent()` are told by whoever asks the server; `reach()` asks it.

const PATIENCE = 5_000; // ms for the question whether anybody is there
const RECENT = 5_000; // ms for which an answer proves a connection
const SILENCE = 2; // tries without an answer, until it is said
export const OFFLINE = "No connection.";
const AWAY = "The server does not answer.";
const DOWN = [502, 503, 504]; // of a proxy: nobody stands behind it

const kept = document.documentElement.dataset.kept; // the page is a copy, of this moment
let asOf = kept ? Date.parse(kept) : Date.now(); // what is shown was so then
let heardAt = kept ? 0 : Date.now(); // the page itself was an answer
let failures = 0;
let isBack = false; // a kept page stays old where the connection is back

/** The server answered; `fresh`: and what the page shows is so now. */
export function heard(fresh = false) {
  heardAt = Date.now();
  failures = 0;
  if (fresh && !kept) asOf = heardAt;
  draw();
}

export function silent() {
  failures += 1;
  heardAt = 0;
  draw();
}

/** Whether a request now may be in vain. */
export const isDoubtful = () => !navigator.onLine || (kept !== undefined && !isBack) || failures >= SILENCE;

/** Whether the server answered just now. */
export const isSure = () => !isDoubtful() && Date.now() - heardAt < RECENT;

/** "" where the server answers, else why it cannot be asked anything. */
export async function reach() {
  if (!navigator.onLine) return OFFLINE;
  if (isSure()) return "";
  try {
    const answer = await fetch("/service-worker.js", { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (DOWN.includes(answer.status)) {
      silent();
      return AWAY;
    }
    heard();
    if (kept) isBack = true;
    return "";
  } catch (trouble) {
    silent();
    return trouble.name === "TimeoutError" ? AWAY : OFFLINE;
  }
}

// ---- the bar ---------------------------------------------------------------------------------

const bar = document.querySelector("[data-offline-bar]");

function draw() {
  if (!bar) return;
  const isWanted = !navigator.onLine || kept || failures >= SILENCE;
  if (isWanted && !bar.hasAttribute("role")) {
    bar.setAttribute("role", "status"); // first: what is put into it later is read out
    setTimeout(draw, 50);
    return;
  }
  const isOff = !navigator.onLine || (kept && !isBack);
  if (kept && isBack && navigator.onLine) {
    if (bar.querySelector("a")) return;
    const link = Object.assign(document.createElement("a"), { href: location.href, textContent: "Load the page again" });
    bar.replaceChildren("The connection is back. ", link, " to see what is new.");
  } else if (isOff || failures >= SILENCE) {
    const state = navigator.onLine ? AWAY : "Offline.";
    const what = document.querySelector("[data-packs]") ? "This is what you kept on this device." : `This ${kept ? "copy" : "page"} is from ${clock(asOf)}, ${age(asOf)}.`;
    if (bar.firstChild?.textContent !== `${state} `) {
      // What changes each minute is not read out each minute.
      const when = document.createElement("span");
      when.setAttribute("aria-live", "off");
      bar.replaceChildren(`${state} `, when);
    }
    bar.querySelector("span").textContent = what;
  } else {
    bar.replaceChildren();
  }
  document.documentElement.classList.toggle("is-offline", bar.hasChildNodes());
}

function clock(moment) {
  const at = new Date(moment);
  const day = at.toDateString() === new Date().toDateString() ? {} : { month: "long", day: "numeric" };
  return at.toLocaleString("en-US", { ...day, hour: "numeric", minute: "2-digit" });
}

function age(moment) {
  const minutes = Math.max(0, Math.floor((Date.now() - moment) / 60_000));
  if (minutes < 1) return "just now";
  if (minutes < 120) return `${minutes} min ago`;
  const [count, unit] = minutes < 2880 ? [Math.floor(minutes / 60), "hours"] : [Math.floor(minutes / 1440), "days"];
  return `${count} ${unit} ago`;
}

addEventListener("offline", draw);
addEventListener("online", async () => {
  failures = 0;
  if (kept) await reach();
  draw();
});
addEventListener("pageshow", draw);
setInterval(draw, 20_000);
draw();
