// Answers for conversations that somebody chose to keep on this device ("Keep offline").
//
// A pack is a cache named "pack:<user>:<conversation>", filled by js/offline_copies.js; its "/offline/meta"
// says whether it is whole and when it ends. Nothing else is ever kept, and what a pack does not
// hold goes to the network as if nobody stood here.

const META = "/offline/meta";
const OFFLINE = "/offline";
const PATIENCE = 8000; // ms that a page may take before the kept one is shown
const DOWN = [502, 503, 504];

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(Promise.all([self.clients.claim(), packs()])));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (request.mode === "navigate") event.respondWith(page(request));
  else if (/^\/(static|media)\//.test(url.pathname)) event.respondWith(file(request));
});

/** A page as it is now; as it was kept, where there is no link. */
async function page(request) {
  const copy = await kept(request.url);
  let slow;
  try {
    const answers = [fetch(request)];
    if (copy) answers.push(new Promise((_, fail) => { slow = setTimeout(fail, PATIENCE, new Error("slow")); }));
    const answer = await Promise.race(answers);
    return copy && DOWN.includes(answer.status) ? copy : answer;
  } catch {
    return copy ?? (await kept(OFFLINE)) ?? Response.error();
  } finally {
    clearTimeout(slow);
  }
}

/** What never changes under its address: as it was kept, at once. */
async function file(request) {
  const copy = await kept(request.url);
  if (!copy) return fetch(request);
  const range = request.headers.get("range");
  return range ? part(copy, range) : copy;
}

/** A part of a sound, as a server would give it: without one, nobody could seek. */
async function part(whole, range) {
  const body = await whole.blob();
  const wanted = /^bytes=(\d*)-(\d*)$/.exec(range);
  if (!wanted || (!wanted[1] && !wanted[2])) return whole.bodyUsed ? new Response(body, { headers: whole.headers }) : whole;
  const [first, last] = wanted.slice(1).map((digits) => (digits ? Number(digits) : null));
  const start = first ?? Math.max(0, body.size - last);
  const end = first !== null && last !== null ? Math.min(last, body.size - 1) : body.size - 1;
  if (start > end) return new Response(null, { status: 416, headers: { "Content-Range": `bytes */${body.size}` } });
  const headers = new Headers(whole.headers);
  headers.set("Content-Range", `bytes ${start}-${end}/${body.size}`);
  headers.set("Content-Length", end - start + 1);
  return new Response(body.slice(start, end + 1, body.type), { status: 206, headers });
}

async function kept(address) {
  for (const pack of await packs()) {
    const found = await pack.match(address, { ignoreVary: true });
    if (found) return found;
  }
  return undefined;
}

/** The whole packs that have not ended, the newest first. Those that have are deleted. */
async function packs() {
  const names = (await caches.keys()).filter((name) => name.startsWith("pack:"));
  const found = await Promise.all(names.map(async (name) => {
    const pack = await caches.open(name);
    const meta = await (await pack.match(META))?.json();
    if (!meta) return null; // just begun
    if (meta.ends > Date.now()) return meta.whole ? { pack, ends: meta.ends } : null;
    await caches.delete(name);
    return null;
  }));
  return found.filter(Boolean).sort((a, b) => b.ends - a.ends).map(({ pack }) => pack);
}
