// Keeping a conversation on this device, for places without a link. See service-worker.js.

const META = "/offline/meta";
const AT_ONCE = 4;
const DAY = 86_400_000; // ms
const LEFT_OUT = ["content-encoding", "content-length", "vary", "set-cookie"];

export const canKeep = () => isSecureContext && "serviceWorker" in navigator && "caches" in globalThis;
// Who is logged in; "" on the pages of the door; null where a page does not say.
export const user = () => document.querySelector("meta[name=viewer-user]")?.content ?? null;

export class Trouble extends Error {} // its message is for people

/** What there is on this device, the newest first. What has ended goes. */
export async function packs() {
  const found = [];
  for (const name of await names()) {
    const meta = await metaOf(await caches.open(name));
    if (!meta) continue; // just begun: it holds nothing yet, and somebody is about to fill it
    const isAnothers = user() !== null && meta.user !== user();
    if (meta.ends <= Date.now() || isAnothers) await caches.delete(name);
    else if (meta.whole) found.push({ ...meta, name });
  }
  return found.sort((a, b) => b.saved - a.saved);
}

export async function packOf(conversation) {
  return (await packs()).find((one) => one.id === conversation);
}

export async function remove(name) {
  await caches.delete(name);
  if ((await names()).length === 0) await dismiss();
}

/** Everything that was kept, of anybody. */
export async function forget() {
  await Promise.all((await names()).map((name) => caches.delete(name)));
  await dismiss();
}

/** What will be kept, and how much that is. */
export async function look(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  if (!answer.ok || answer.redirected) throw new Trouble("The server did not say what there is to keep.");
  return answer.json();
}

/** Keep it. `tell(done, all, bytes)` hears how far it is. Raises Trouble; what came stays for the next try. */
export async function keep(info, tell) {
  await makeRoom(info.size);
  const name = `pack:${user()}:${info.id}`;
  const cache = await caches.open(name);
  const saved = Date.now();
  const meta = {
    id: info.id, title: info.title, page: info.page, user: user(), saved, ends: saved + info.days * DAY,
  };
  const before = await metaOf(cache);
  try {
    // Until it is whole, an earlier one counts; a first one is only remembered, to be ended in time.
    if (!before?.whole) await put(cache, META, JSON.stringify({ ...meta, whole: false }));
    const pages = await pagesOf(info, saved);
    const wanted = new Set([...pages.flatMap((page) => page.needs), ...info.programs, ...info.files]);
    let done = 0;
    let size = pages.reduce((sum, page) => sum + page.html.length, 0);
    let missing = 0;
    tell(0, wanted.size, size);
    const queue = [...wanted];
    const work = async () => {
      for (let address = queue.shift(); address; address = queue.shift()) {
        const bytes = await fetched(cache, address);
        if (bytes === null) missing += 1;
        size += bytes ?? 0;
        tell(++done, wanted.size, size);
      }
    };
    // Where one fails, the others finish what they are at before anything is said or deleted.
    const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, () => work().catch((trouble) => {
      queue.length = 0;
      throw trouble;
    })));
    const failure = ends.find((end) => end.status === "rejected");
    if (failure) throw failure.reason;
    // Only now the pages, the oldest first: whatever breaks off, none leads to what is not there.
    for (const page of pages.reverse()) await put(cache, page.address, page.html, page.headers);
    const held = new Set([...wanted, META, ...pages.map((page) => page.address)].map((one) => new URL(one, location).href));
    for (const request of await cache.keys()) if (!held.has(request.url)) await cache.delete(request);
    const whole = { ...meta, whole: true, size, files: info.files.length, missing };
    await put(cache, META, JSON.stringify(whole));
    await navigator.serviceWorker.register("/service-worker.js");
    await navigator.serviceWorker.ready;
    return { ...whole, name };
  } catch (trouble) {
    if (trouble instanceof Trouble) throw trouble;
    if (trouble.name === "QuotaExceededError") {
      if (!before?.whole) await caches.delete(name);
      throw new Trouble("There is not enough room on this device. Remove what you no longer need and try again.");
    }
    throw new Trouble("The link broke off. Try again: what has come already is not fetched twice.");
  }
}

async function makeRoom(size) {
  await navigator.storage?.persist?.(); // else the browser may throw it away when it needs room
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
  if (quota && quota - usage < size * 1.1) {
    throw new Trouble(`This needs about ${megabytes(size)}, and the device has ${megabytes(Math.max(0, quota - usage))} left for it.`);
  }
}

/** The conversation's newest pages, as they are to be shown later, and the page about what is kept. */
async function pagesOf(info, saved) {
  const pages = [await pageOf(info.offline, saved)];
  let next = info.page;
  for (let count = 0; next && count < info.pages; count += 1) {
    const page = await pageOf(next, saved);
    pages.push(page);
    next = page.document.querySelector("a[rel=prev]")?.getAttribute("href");
  }
  return pages;
}

async function pageOf(address, saved) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) throw new Trouble("The server did not give the page. Load it again and try once more.");
  const words = await answer.text();
  const page = new DOMParser().parseFromString(words, "text/html");
  const needs = [...page.querySelectorAll("link[rel=stylesheet], link[rel=icon], link[rel=apple-touch-icon], script[src]")]
    .map((one) => one.getAttribute("href") ?? one.getAttribute("src"));
  return {
    address,
    document: page,
    needs,
    headers: answer.headers,
    html: words.replace("<html ", `<html data-kept="${new Date(saved).toISOString()}" `),
  };
}

/** How many bytes it has; null where the server has none. */
async function fetched(cache, address) {
  const held = await cache.match(address, { ignoreVary: true });
  if (held) return Number(held.headers.get("Content-Length"));
  const answer = await fetch(address);
  if (answer.redirected || answer.status === 401) throw new Trouble("You were logged out. Log in and try again.");
  if ([502, 503, 504].includes(answer.status)) throw new Trouble("The server is too busy. Try again in a minute.");
  if (!answer.ok) return null;
  const body = await answer.blob();
  await put(cache, address, body, answer.headers);
  return body.size;
}

async function put(cache, address, body, headers = {}) {
  const blob = body instanceof Blob ? body : new Blob([body]);
  const told = new Headers(headers);
  for (const name of LEFT_OUT) told.delete(name);
  told.set("Content-Length", blob.size);
  await cache.put(address, new Response(blob, { headers: told }));
}

async function metaOf(cache) {
  return (await cache.match(META))?.json();
}

async function names() {
  return (await caches.keys()).filter((name) => name.startsWith("pack:"));
}

async function dismiss() {
  for (const one of await navigator.serviceWorker.getRegistrations()) await one.unregister();
}

export function megabytes(bytes) {
  return bytes < 100_000 ? "less than 0.1 MB" : `${(bytes / 1_000_000).toFixed(bytes < 10_000_000 ? 1 : 0)} MB`;
}

export function day(moment) {
  return new Date(moment).toLocaleDateString("en-US", { month: "long", day: "numeric" });
}

export function ago(moment) {
  const minutes = Math.round((Date.now() - moment) / 60_000);
  if (minutes < 1) return "just now";
  const [count, unit] = minutes < 60 ? [minutes, "minute"] : minutes < 1440 ? [Math.round(minutes / 60), "hour"] : [Math.round(minutes / 1440), "day"];
  return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
}
