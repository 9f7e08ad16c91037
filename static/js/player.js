// Plays voicemails and recordings.
//
// A sound is <div data-player="its id" data-title data-artist data-duration data-wave>
// around a plain <audio controls>; how fast its user listens is in <meta name="viewer-rate">. All of
// them share one sound of ours, so one plays at a time, it goes on while the page below it changes,
// and a small bar follows where its player is out of sight. Lines of <dl data-transcript="its id">
// with data-start seek in it. Without this module the plain <audio> plays.
//
// Hears on the document: `player:toggle`, `lightbox:opened`, `lightbox:closed`, `content:added`.
// Tells: `player:bar`, when the bar has come or gone.

import { drawing } from "./icons.js";

const RATES = [1, 1.25, 1.5, 2];
const STEP = 10; // seconds
const READING = 5000; // ms after which the transcript follows again
const KEPT = "player"; // in sessionStorage: where we were, for the next page of this tab
const GOES_ON = 8000; // ms: a page that comes sooner goes on by itself

const sound = document.createElement("audio");
sound.preload = "none";
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const places = new Map(); // seconds, by id
const visible = new Set(); // players on screen
let now = null; // { id, source, title, artist, duration, message, url }
let problem = "";
let rate = 1;
let dialog = null; // the open lightbox

// ---- one sound -------------------------------------------------------------------------------

function duration() {
  return now?.duration || (Number.isFinite(sound.duration) ? sound.duration : 0);
}

function notePlace() {
  if (now && !sound.error && sound.readyState) places.set(now.id, sound.currentTime);
}

function load(track) {
  if (now?.id === track.id) return;
  notePlace();
  now = track;
  problem = "";
  sound.src = track.source;
  sound.defaultPlaybackRate = sound.playbackRate = rate;
  const place = places.get(track.id) ?? 0;
  if (place > 0 && place < (track.duration || Infinity) - 1) sound.currentTime = place;
  introduce();
}

async function play() {
  problem = "";
  if (sound.error) {
    const place = places.get(now.id) ?? 0;
    sound.load();
    sound.currentTime = place;
  }
  if (sound.ended) sound.currentTime = 0;
  show();
  try {
    await sound.play();
  } catch (trouble) {
    // AbortError: another one was begun meanwhile. NotAllowedError: the person presses play.
    if (trouble.name === "NotSupportedError") explain();
  }
  show();
}

function toggle() {
  if (!now) return;
  if (sound.paused) play();
  else sound.pause();
}

function seek(seconds) {
  if (!now) return;
  const last = duration();
  const place = Math.max(0, last ? Math.min(seconds, last) : seconds);
  places.set(now.id, place);
  sound.currentTime = place;
  show();
}

function stop() {
  sound.pause();
  notePlace();
  now = null;
  sound.removeAttribute("src");
  sound.load();
  if ("mediaSession" in navigator) navigator.mediaSession.metadata = null;
  show();
}

/** Why it does not play, in words for a person. */
async function explain() {
  const { id, source } = now;
  let words = "The connection was lost.";
  try {
    const answer = await fetch(source, { headers: { Accept: "text/plain", Range: "bytes=0-0" } });
    if (answer.status === 401) words = "You are logged out. Load this page again to log in.";
    else if (!answer.ok) words = (await answer.text()).trim() || "This recording cannot be fetched now.";
    else words = sound.error?.code === MediaError.MEDIA_ERR_NETWORK ? words : "This browser cannot play it. It can be downloaded.";
  } catch {
    words = "There is no connection.";
  }
  if (now?.id !== id) return;
  problem = words;
  show();
}

for (const event of ["play", "playing", "pause", "ended", "ratechange", "durationchange", "seeked", "waiting", "canplay"]) {
  sound.addEventListener(event, show);
}
sound.addEventListener("timeupdate", () => {
  keep();
  show();
});
sound.addEventListener("error", () => now && sound.error && explain());
sound.addEventListener("play", () => {
  // One at a time: films, and players that are not ours.
  for (const other of document.querySelectorAll("audio, video")) if (other !== sound) other.pause();
});
document.addEventListener("play", (event) => event.target !== sound && sound.pause(), true);
addEventListener("online", () => problem && now && !sound.paused && play());

function setRate(wanted) {
  rate = wanted;
  sound.defaultPlaybackRate = sound.playbackRate = rate;
  show();
  keep();
  fetch("/account/playback-rate", {
    method: "POST",
    body: new URLSearchParams({ rate }),
    headers: { "X-CSRFToken": document.querySelector('meta[name="csrf-token"]')?.content ?? "" },
    keepalive: true,
  }).catch(() => {}); // it holds for this tab all the same
}

// ---- lock screen and keys of headphones --------------------------------------------------------

function introduce() {
  if (!("mediaSession" in navigator)) return;
  const icon = document.querySelector('link[rel~="apple-touch-icon"], link[rel~="icon"]');
  const artwork = icon ? [{ src: icon.href, sizes: icon.getAttribute("sizes") || "any", type: icon.type || "image/png" }] : [];
  navigator.mediaSession.metadata = new MediaMetadata({ title: now.title, artist: now.artist, artwork });
}

function tellSession() {
  if (!("mediaSession" in navigator)) return;
  navigator.mediaSession.playbackState = now ? (sound.paused ? "paused" : "playing") : "none";
  const whole = duration();
  if (now && whole && sound.currentTime <= whole) {
    navigator.mediaSession.setPositionState?.({ duration: whole, playbackRate: sound.playbackRate, position: sound.currentTime });
  }
}

const actions = {
  play,
  pause: () => sound.pause(),
  stop,
  seekbackward: ({ seekOffset }) => seek(sound.currentTime - (seekOffset || STEP)),
  seekforward: ({ seekOffset }) => seek(sound.currentTime + (seekOffset || STEP)),
  seekto: ({ seekTime }) => seek(seekTime),
};
for (const [name, action] of Object.entries(actions)) {
  try {
    navigator.mediaSession?.setActionHandler(name, action);
  } catch {
    // An action that this browser does not know.
  }
}

// ---- what is seen ------------------------------------------------------------------------------

function button(name, label, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = `player__button player__button--${name}`;
  element.setAttribute("aria-label", label);
  element.title = label;
  if (name !== "rate") element.append(drawing(name));
  element.addEventListener("click", action);
  return element;
}

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds || 0));
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** A slider of the browser's own over a drawing: it comes with keys, touch and a voice.
 *
 *  What is around it is as wide as its way. A tap beside the hand goes there: the browser's own
 *  slider takes it for a hold of the wide thumb, and on an iPhone for nothing at all. */
function slider(label, act) {
  const element = document.createElement("input");
  Object.assign(element, { type: "range", min: 0, step: 0.1, value: 0, className: "player__slider" });
  element.setAttribute("aria-label", label);
  let moved = false;
  element.addEventListener("pointerdown", () => { moved = false; });
  element.addEventListener("input", () => {
    moved = true;
    act(Number(element.value));
  });
  element.addEventListener("click", ({ clientX, detail }) => {
    if (moved || !detail) return; // detail 0: pressed by a voice, at no place
    const { left, width } = element.parentElement.getBoundingClientRect();
    act(((clientX - left) / width) * element.max);
  });
  return element;
}

function show() {
  for (const player of document.querySelectorAll("[data-player].is-dressed")) paint(player);
  follow();
  showBar();
  tellSession();
}

function paintControls(parts, track, isNow) {
  const place = isNow ? sound.currentTime || places.get(track.id) || 0 : places.get(track.id) ?? 0;
  const whole = track.duration || (isNow ? duration() : 0);
  const plays = isNow && !sound.paused;
  const name = plays ? "pause" : "play";
  if (parts.play.dataset.drawing !== name) {
    parts.play.dataset.drawing = name;
    parts.play.replaceChildren(drawing(name));
    const label = `${plays ? "Pause" : "Play"} ${track.title.toLowerCase()}${track.artist ? ` of ${track.artist}` : ""}`;
    parts.play.setAttribute("aria-label", label);
    parts.play.title = plays ? "Pause" : "Play";
  }
  parts.slider.max = whole || 1;
  parts.slider.value = place;
  parts.slider.setAttribute("aria-valuetext", `${clock(place)} of ${clock(whole)}`);
  parts.root.style.setProperty("--played", whole ? `${Math.min(100, (place / whole) * 100)}%` : "0%");
  parts.time.textContent = `${clock(place)} / ${whole ? clock(whole) : "–"}`;
  parts.rate.textContent = `${rate}×`;
  parts.rate.setAttribute("aria-label", `Speed: ${rate} times`);
  parts.root.classList.toggle("is-waiting", plays && sound.readyState < 3);
  const words = isNow ? problem : "";
  if (parts.problem.dataset.words !== words) {
    parts.problem.dataset.words = words;
    parts.problem.replaceChildren(words);
    if (words) {
      const again = document.createElement("button");
      again.type = "button";
      again.className = "player__again";
      again.textContent = "Try again";
      again.addEventListener("click", () => {
        parts.play.focus();
        play();
      });
      parts.problem.append(" ", again);
    }
  }
}

function nextRate() {
  setRate(RATES[(RATES.indexOf(rate) + 1) % RATES.length]);
}

// -- in the page

const dressed = new WeakMap(); // parts, by player

function trackOf(player) {
  return dressed.get(player).track;
}

function dress(player) {
  const plain = player.querySelector("audio");
  if (!plain || dressed.has(player)) return;
  const { dataset } = player;
  const track = {
    id: dataset.player,
    source: plain.src,
    title: dataset.title || "Recording",
    artist: dataset.artist || "",
    duration: Number(dataset.duration) || 0,
    message: dataset.message,
    url: dataset.messageUrl,
  };
  const begin = (change) => () => {
    load(track);
    change();
  };
  const parts = { root: player, track };
  parts.play = button("play", "Play", begin(toggle));
  parts.slider = slider("Position", (seconds) => begin(() => seek(seconds))());
  parts.back = button("back", `Back ${STEP} seconds`, begin(() => seek(sound.currentTime - STEP)));
  parts.forward = button("forward", `Forward ${STEP} seconds`, begin(() => seek(sound.currentTime + STEP)));
  parts.rate = button("rate", "Speed", nextRate);
  parts.time = div("time");
  parts.problem = div("problem");
  parts.problem.setAttribute("role", "status");
  const wave = div("wave");
  wave.append(...waves(dataset.wave || ""), parts.slider);
  const more = div("more");
  more.append(parts.time, parts.back, parts.forward, parts.rate);
  dressed.set(player, parts);
  player.replaceChildren(parts.play, wave, more, parts.problem);
  player.classList.add("is-dressed");
  player.setAttribute("role", "group");
  player.setAttribute("aria-label", track.artist ? `${track.title} of ${track.artist}` : track.title);
  watcher.observe(player);
  paint(player);
}

function div(name) {
  const element = document.createElement("div");
  element.className = `player__${name}`;
  return element;
}

/** The loudness as bars, twice: the played part lies over the other and is cut where we are. */
function waves(letters) {
  const SVG = "http://www.w3.org/2000/svg";
  const levels = [...(letters || "a".repeat(100))].map((letter) => letter.charCodeAt(0) - 97);
  const half = Math.ceil(levels.length / 2); // two loudnesses a bar: what a phone has room for
  const path = Array.from({ length: half }, (_, n) => {
    const level = Math.max(levels[2 * n], levels[2 * n + 1] ?? 0);
    const high = 1 + (level / 25) * 13;
    return `M${n * 4 + 2} ${16 - high}v${2 * high}`;
  }).join("");
  return ["rest", "played"].map((name) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", `player__bars player__bars--${name}`);
    svg.setAttribute("viewBox", `0 0 ${half * 4} 32`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const bars = document.createElementNS(SVG, "path");
    bars.setAttribute("d", path);
    svg.append(bars);
    return svg;
  });
}

function paint(player) {
  const parts = dressed.get(player);
  if (parts) paintControls(parts, parts.track, now?.id === parts.track.id);
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target);
    else visible.delete(target);
  }
  showBar();
}, { rootMargin: "-56px 0px -56px 0px" });

// -- the bar

let bar = null;

function makeBar() {
  const root = document.createElement("section");
  root.className = "player-bar";
  root.dataset.playerBar = "";
  root.setAttribute("aria-label", "Player");
  root.hidden = true;
  const parts = { root };
  parts.play = button("play", "Play", toggle);
  parts.slider = slider("Position", seek);
  parts.back = button("back", `Back ${STEP} seconds`, () => seek(sound.currentTime - STEP));
  parts.forward = button("forward", `Forward ${STEP} seconds`, () => seek(sound.currentTime + STEP));
  parts.rate = button("rate", "Speed", nextRate);
  parts.stop = button("close", "Close the player", () => {
    const player = now && playerOf(now.id);
    stop();
    (dialog ?? player?.querySelector("button") ?? document.getElementById("main"))?.focus();
  });
  parts.title = document.createElement("a");
  parts.title.className = "player-bar__title";
  parts.title.addEventListener("click", backToPlayer);
  parts.time = div("time");
  parts.problem = div("problem");
  parts.problem.setAttribute("role", "status");
  parts.kind = document.createElement("span");
  parts.kind.className = "player-bar__kind";
  const line = document.createElement("div");
  line.className = "player-bar__line";
  line.append(parts.kind, parts.time);
  const words = document.createElement("div");
  words.className = "player-bar__words";
  words.append(parts.title, line, parts.problem);
  const track = document.createElement("div");
  track.className = "player-bar__track";
  track.append(parts.slider);
  root.append(track, parts.play, words, parts.back, parts.forward, parts.rate, parts.stop);
  root.addEventListener("focusout", () => requestAnimationFrame(showBar));
  (dialog ?? document.body).append(root);
  return parts;
}

function playerOf(id) {
  return document.querySelector(`[data-player="${CSS.escape(id)}"]`);
}

function showBar() {
  bar ??= now && makeBar();
  if (!bar) return;
  const { root } = bar;
  const inSight = now && [...visible].some((player) => player.isConnected && trackOf(player).id === now.id);
  const wanted = Boolean(now) && (Boolean(dialog) || !inSight || root.contains(document.activeElement));
  if (now) {
    bar.title.textContent = now.artist || now.title;
    bar.kind.textContent = now.artist ? now.title : "";
    bar.title.href = playerOf(now.id) && !dialog ? `#${now.message}` : now.url;
    paintControls(bar, now, true);
  }
  if (root.hidden === !wanted) return;
  root.hidden = !wanted;
  const page = document.documentElement;
  const wasAtEnd = page.scrollHeight - innerHeight - scrollY < 2;
  page.classList.toggle("has-player-bar", wanted);
  if (wanted && wasAtEnd) scrollTo(0, page.scrollHeight); // the bar covers nothing that was read
  dialog?.classList.toggle("lightbox--sounding", wanted);
  document.dispatchEvent(new CustomEvent("player:bar"));
}

function backToPlayer(event) {
  const player = now && !dialog && playerOf(now.id);
  if (!player) return; // on another page: the link leads there
  event.preventDefault();
  player.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
  player.querySelector("button")?.focus({ preventScroll: true });
}

// A dialog makes the rest of the page inert: the bar goes along into it.
document.addEventListener("lightbox:opened", ({ detail }) => {
  dialog = detail;
  bar ??= now && makeBar();
  if (bar) dialog.append(bar.root);
  showBar();
  dialog.classList.toggle("lightbox--sounding", Boolean(bar && !bar.root.hidden));
  document.dispatchEvent(new CustomEvent("player:bar"));
});
document.addEventListener("lightbox:closed", () => {
  dialog = null;
  if (bar) document.body.append(bar.root);
  showBar();
});

// -- the transcript

let highlighted = null;
let readingSince = -READING;

function follow() {
  const lines = now ? document.querySelectorAll(`[data-transcript="${CSS.escape(now.id)}"] [data-start]`) : [];
  let current = null;
  if (sound.currentTime > 0 || !sound.paused) {
    for (const line of lines) if (Number(line.dataset.start) <= sound.currentTime + 0.05) current = line;
  }
  if (current === highlighted) return;
  highlighted?.removeAttribute("aria-current");
  highlighted = current;
  if (!current) return;
  current.setAttribute("aria-current", "true");
  const box = current.closest("[data-transcript]");
  if (performance.now() - readingSince < READING || box.scrollHeight <= box.clientHeight) return;
  const away = current.getBoundingClientRect().top - box.getBoundingClientRect().top;
  box.scrollTo({
    top: box.scrollTop + away - (box.clientHeight - current.offsetHeight) / 2,
    behavior: calm.matches ? "auto" : "smooth",
  });
}

for (const event of ["wheel", "touchmove", "keydown", "pointerdown"]) {
  document.addEventListener(event, ({ target }) => {
    if (target.closest?.("[data-transcript]")) readingSince = performance.now();
  }, { passive: true });
}

document.addEventListener("click", (event) => {
  const line = event.target.closest?.("[data-transcript] [data-start]");
  if (!line || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey) return;
  if (!event.target.closest("a") && getSelection()?.toString()) return; // somebody copies words
  const player = playerOf(line.closest("[data-transcript]").dataset.transcript);
  if (!player || !dressed.has(player)) return;
  event.preventDefault();
  readingSince = -READING;
  load(trackOf(player));
  seek(Number(line.dataset.start));
  play();
});

// ---- keys --------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  const home = event.target.closest?.("[data-player].is-dressed, [data-player-bar]");
  if (!home || event.ctrlKey || event.metaKey || event.altKey) return;
  const track = home.matches("[data-player]") ? trackOf(home) : now;
  if (!track) return;
  const step = event.shiftKey ? 1 : STEP;
  const place = now?.id === track.id ? sound.currentTime : places.get(track.id) ?? 0;
  const act = {
    " ": event.target.matches("button, a") ? null : toggle,
    ArrowLeft: () => seek(place - step),
    ArrowRight: () => seek(place + step),
    ArrowDown: () => seek(place - 1),
    ArrowUp: () => seek(place + 1),
    Home: () => seek(0),
    End: () => seek(duration()),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  load(track);
  act();
}, true);
document.addEventListener("player:toggle", toggle);

// ---- from page to page ---------------------------------------------------------------------------

function keep() {
  notePlace(); // not as of the last `timeupdate`: a busy phone is late with it, and a page may be left before the first
  try {
    if (!now) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, JSON.stringify({ now, rate, at: Date.now(), plays: !sound.paused, places: [...places].slice(-50) }));
  } catch {
    // No room, or not allowed: then the next page begins anew.
  }
}
addEventListener("pagehide", keep);

function resume() {
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return;
  }
  if (!kept?.now) return;
  const soon = Date.now() - kept.at < GOES_ON;
  if (soon) rate = kept.rate; // the account may not have heard of it yet
  for (const [id, place] of kept.places) places.set(id, place);
  if (!(kept.places.find(([id]) => id === kept.now.id)?.[1] > 0)) return;
  load(kept.now);
  if (kept.plays && soon) play();
}

// ---- doors ---------------------------------------------------------------------------------------

function dressAll(root) {
  if (root.matches?.("[data-player]")) dress(root);
  for (const player of root.querySelectorAll?.("[data-player]") ?? []) dress(player);
}

document.addEventListener("content:added", ({ detail }) => {
  dressAll(detail instanceof Node ? detail : document);
  show();
});
rate = Number(document.querySelector('meta[name="viewer-rate"]')?.content) || 1;
sound.hidden = true;
document.body.append(sound);
dressAll(document);
resume();
show();
