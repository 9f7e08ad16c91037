// Shows photos and videos over the page.
//
// A photo is <a data-slide="its id" href="its preview"> inside an element with data-slides="the
// address of the list it belongs to" (viewer/web/slides.py). It opens at once with what the page
// holds; the list brings the rest, also what is on no page yet. Without this module the links
// lead to the pictures.
//
// On the document: `viewer:opened` (detail: the dialog) and `viewer:closed`.

import { drawing } from "./drawings.js";

const NEAR = 10; // slides from the edge of what is known: time to ask for more
const HASH = "#photo-";
const TURN = 90;

const VENDOR = "../vendor/photoswipe/";
let coming = null; // PhotoSwipe and its looks: fetched once the page is there

function photoswipe() {
  coming ??= Promise.all([import(`${VENDOR}photoswipe.esm.min.js`), looks()])
    .then(([module]) => module.default)
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

const calm = matchMedia("(prefers-reduced-motion: reduce)");
let open = null; // the Viewer on screen

// ---- the list ------------------------------------------------------------------------------

/** The slides of a list, by index; what is not known yet comes from the server, a page at a time. */
class Reel {
  constructor(address, links) {
    this.address = address;
    this.slides = links.map(fromPage);
    this.total = this.slides.length;
    this.known = null; // { low, high, before, after }: the stretch that can be gone on from
    this.asking = null;
    this.controller = new AbortController();
  }

  indexOf(id) {
    return this.slides.findIndex((slide) => slide?.id === id);
  }

  /** Learn where among all slides this one stands. */
  async locate(id) {
    const page = await this.fetch({ around: id });
    const before = new Map(this.slides.map((slide) => [slide.id, slide]));
    this.slides = [];
    this.take(page, page.first - 1, before);
  }

  /** Have the slides around an index, if the server gives them. Whether there are new ones. */
  async reach(index) {
    if (!this.known || this.asking) return false;
    const { low, high, before, after } = this.known;
    if (index < low - NEAR || index > high + NEAR) {
      return this.ask(index < this.total / 2 ? { at: "start" } : { at: "end" });
    }
    if (index <= low + NEAR && before) return this.ask({ before });
    if (index >= high - NEAR && after) return this.ask({ after });
    return false;
  }

  async ask(wish) {
    this.asking = this.fetch(wish);
    try {
      const page = await this.asking;
      const { low, high, before, after } = this.known;
      if (wish.before) {
        this.take(page, low - page.slides.length);
        this.known = { low: low - page.slides.length, high, before: page.before, after };
      } else if (wish.after) {
        this.take(page, high + 1);
        this.known = { low, high: high + page.slides.length, before, after: page.after };
      } else {
        this.take(page, page.first - 1);
      }
      return true;
    } finally {
      this.asking = null;
    }
  }

  take(page, first, known = new Map()) {
    page.slides.forEach((slide, n) => {
      const held = known.get(slide.id);
      this.slides[first + n] = held ? Object.assign(held, sized(slide)) : sized(slide);
    });
    this.total = page.total;
    this.known = {
      low: first,
      high: first + page.slides.length - 1,
      before: page.before,
      after: page.after,
    };
  }

  async fetch(wish) {
    const address = new URL(this.address, location.href);
    for (const [name, value] of Object.entries(wish)) address.searchParams.set(name, value);
    if (this.moment) address.searchParams.set("as_of", this.moment);
    const answer = await fetch(address, {
      headers: { Accept: "application/json" },
      signal: this.controller.signal,
    });
    if (!answer.ok || answer.redirected) throw new Error(`slides: ${answer.status}`);
    const page = await answer.json();
    this.moment ??= page.as_of;
    return page;
  }
}

/** What the page itself tells of a slide: enough to show it. */
function fromPage(link) {
  const image = pictureIn(link);
  const film = image ? null : link.closest("figure")?.querySelector("video");
  const isVideo = link.dataset.kind === "video";
  const { width, height } = link.dataset;
  return sized({
    id: link.dataset.slide,
    kind: isVideo ? "video" : "photo",
    thumbnail: image ? image.currentSrc || image.src : film?.poster,
    preview: isVideo ? image?.src ?? film?.poster : link.href,
    video: isVideo ? link.href : null,
    placeholder: link.querySelector('img[src^="data:"]')?.src,
    width: Number(width ?? (image ?? film)?.getAttribute("width")),
    height: Number(height ?? (image ?? film)?.getAttribute("height")),
    alt: image?.alt || (isVideo ? "Video" : "Photo"),
    message: link.closest("[id^=message-]")?.id,
    uses: [],
  });
}

/** The thumbnail within a link, not the blur behind it. */
function pictureIn(link) {
  return link?.querySelector('img:not([src^="data:"])') ?? null;
}

function sized(slide) {
  // A shape is needed before anything has arrived.
  const known = slide.width > 0 && slide.height > 0;
  return { ...slide, type: slide.kind, w: known ? slide.width : 1200, h: known ? slide.height : 900 };
}

// ---- a picture: blur, thumbnail, preview, and every pixel once somebody looks that closely --------

class Picture {
  constructor(slide, turn, changed) {
    this.slide = slide;
    this.changed = changed; // called when the person may be told something new
    this.element = document.createElement("div");
    this.element.className = "viewer__picture pswp__img";
    this.element.dataset.turn = turn;
    this.state = "loading"; // then shown, or failed
    this.detail = "none"; // then loading, making, shown, failed
    if (slide.placeholder) this.layer(slide.placeholder, "blur");
    if (slide.thumbnail) this.layer(slide.thumbnail, "thumbnail");
    this.load();
  }

  layer(source, name, alt = "") {
    const image = new Image();
    image.className = `viewer__layer viewer__layer--${name}`;
    image.decoding = "async";
    image.draggable = false;
    image.alt = alt;
    image.src = source;
    this.element.append(image);
    return image;
  }

  async load() {
    this.state = "loading";
    this.changed();
    const image = this.layer(this.slide.preview, "preview", this.slide.alt);
    try {
      await image.decode();
      this.preview = image;
      this.state = "shown";
    } catch {
      image.remove();
      this.state = "failed";
    }
    this.changed();
  }

  /** The pixels of its longer side that can be seen now. */
  get sharpness() {
    return this.preview ? Math.max(this.preview.naturalWidth, this.preview.naturalHeight) : 2048;
  }

  /** Somebody looks at it so closely that its longer side fills this many pixels of the screen. */
  closely(pixels) {
    if (pixels <= this.sharpness * 1.02 || this.state !== "shown") return;
    if (Math.max(this.slide.width, this.slide.height) <= this.sharpness) return;
    if (this.slide.full && this.detail === "none") this.loadDetail();
    if (!this.slide.full && "full" in this.slide && this.detail !== "absent") {
      this.detail = "absent";
      this.changed();
    }
  }

  async loadDetail() {
    this.detail = "loading";
    this.changed();
    const image = new Image();
    image.className = "viewer__layer viewer__layer--full";
    image.draggable = false;
    image.alt = "";
    image.src = this.slide.full;
    try {
      await image.decode();
      if (this.detail !== "loading") return; // looked away meanwhile
      this.element.append(image);
      this.full = image;
      this.detail = "shown";
    } catch {
      if (this.detail !== "loading") return;
      this.detail = (await status(this.slide.full)) === 425 ? "making" : "failed";
      if (this.detail === "making") setTimeout(() => this.detail === "making" && this.loadDetail(), 2000);
    }
    this.changed();
  }

  /** Nobody looks closely any more: a phone has little memory. */
  release() {
    this.full?.remove();
    this.full = null;
    if (this.detail !== "absent") this.detail = "none";
  }

  retry() {
    if (this.state === "failed") this.load();
    else if (this.detail === "failed") this.loadDetail();
  }
}

async function status(address) {
  try {
    return (await fetch(address, { method: "HEAD" })).status;
  } catch {
    return 0;
  }
}

function film(slide) {
  const element = document.createElement("div");
  element.className = "viewer__film";
  if (!slide.video) {
    element.textContent = "This video cannot be played here. It can be downloaded.";
    return { element, state: "shown", detail: "none", release() {}, closely() {} };
  }
  const video = document.createElement("video");
  Object.assign(video, { controls: true, playsInline: true, preload: "metadata", src: slide.video });
  if (slide.preview) video.poster = slide.preview;
  video.setAttribute("aria-label", slide.alt);
  element.append(video);
  return { element, state: "shown", detail: "none", release: () => video.pause(), closely() {} };
}

// ---- the dialog ------------------------------------------------------------------------------

class Viewer {
  constructor(PhotoSwipe, reel, id, pushed) {
    this.reel = reel;
    this.pushed = pushed; // whether Back leads to the page without us
    this.turns = new Map();
    this.contents = new Set();
    this.footRoom = this.headRoom = 0;
    const index = Math.max(0, reel.indexOf(id));
    this.pswp = new PhotoSwipe({
      index,
      dataSource: { length: 0 },
      loop: false,
      bgOpacity: 1,
      mainClass: "viewer",
      preload: navigator.connection?.saveData ? [0, 1] : [1, 2],
      wheelToZoom: true,
      returnFocus: false, // to the thumbnail of the photo seen last: below
      imageClickAction: (point) => this.clicked(point),
      bgClickAction: "close",
      tapAction: "toggle-controls",
      doubleTapAction: "zoom",
      counter: false,
      zoom: false,
      close: false,
      arrowPrev: false,
      arrowNext: false,
      showAnimationDuration: 220,
      hideAnimationDuration: 180,
      zoomAnimationDuration: calm.matches ? 0 : 250,
      showHideAnimationType: calm.matches ? "none" : "zoom",
      secondaryZoomLevel: ({ fit }) => Math.min(fit * 3, Math.max(1, fit * 2)),
      maxZoomLevel: ({ fit }) => Math.max(fit * 4, 3 / devicePixelRatio, 1),
      paddingFn: () => ({ top: this.headRoom, bottom: this.footRoom, left: 0, right: 0 }),
    });
    this.feed();
    this.pswp.on("uiRegister", () => this.build());
    this.pswp.on("keydown", (event) => this.key(event));
    this.pswp.on("change", () => this.changed());
    this.pswp.on("zoomPanUpdate", () => this.looked());
    this.pswp.on("slideDeactivate", ({ slide }) => slide.content.shown?.release());
    this.pswp.on("pointerDown", (event) => this.leaveToVideo(event));
    this.pswp.on("close", () => this.closing());
    this.pswp.on("destroy", () => this.closed());
  }

  start() {
    this.pswp.init();
    const { element } = this.pswp;
    element.setAttribute("aria-modal", "true");
    element.setAttribute("aria-label", "Photo viewer");
    this.still = [...document.body.children].filter((one) => one !== element && !one.inert);
    for (const one of this.still) one.inert = true;
    element.focus({ preventScroll: true });
    this.locate();
  }

  get slide() {
    return this.reel.slides[this.pswp.currIndex];
  }

  get shown() {
    return this.pswp.currSlide?.content.shown;
  }

  // -- what PhotoSwipe asks

  feed() {
    const { pswp } = this;
    pswp.addFilter("numItems", () => this.reel.total);
    pswp.addFilter("itemData", (_, index) => this.turned(this.reel.slides[index]));
    pswp.addFilter("isContentZoomable", (_, content) => content.type === "photo");
    pswp.addFilter("useContentPlaceholder", (_, content) => content.type === "photo" && !this.turns.get(content.data.id));
    pswp.addFilter("placeholderSrc", (_, content) =>
      (content.slide?.isFirstSlide && content.data.thumbnail) || content.data.placeholder || false);
    pswp.addFilter("thumbEl", (_, data) => pictureIn(thumbnailOf(data.id)));
    pswp.addFilter("thumbBounds", (bounds, data) => this.bounds(bounds, data));
    pswp.on("contentLoad", (event) => {
      event.preventDefault();
      this.load(event.content);
    });
    pswp.on("contentDestroy", ({ content }) => this.contents.delete(content));
  }

  load(content) {
    const { data } = content;
    const tell = () => {
      if (content.shown && content.shown.state !== "loading") content.onLoaded();
      if (content.shown && content.shown === this.shown) this.say();
    };
    if (data.type === "photo") content.shown = new Picture(data, this.turns.get(data.id) ?? 0, tell);
    else if (data.type === "video") content.shown = film(data);
    else content.shown = waiting();
    content.element = content.shown.element;
    content.state = content.shown.state === "loading" ? "loading" : "loaded";
    this.contents.add(content);
  }

  turned(slide) {
    if (!slide) return { type: "waiting", w: 0, h: 0 };
    const sideways = (this.turns.get(slide.id) ?? 0) % 180 !== 0;
    return sideways ? Object.assign(Object.create(slide), { w: slide.h, h: slide.w }) : slide;
  }

  /** Where the thumbnail is; it may show a part only (object-fit: cover). */
  bounds(bounds, data) {
    const image = pictureIn(thumbnailOf(data.id));
    if (!image || !bounds) return undefined;
    const box = image.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight || !box.width) return undefined;
    const fill = Math.max(box.width / data.w, box.height / data.h);
    const x = (box.width - data.w * fill) / 2;
    const y = (box.height - data.h * fill) / 2;
    return {
      x: box.left + x,
      y: box.top + y,
      w: data.w * fill,
      innerRect: { w: box.width, h: box.height, x, y },
    };
  }

  // -- the list arrives, and goes on

  async locate() {
    const { id } = this.slide ?? this;
    try {
      await this.reel.locate(id);
    } catch {
      this.alone = true; // offline, or not of this list: what the page holds is shown all the same
      this.changed();
      return;
    }
    await this.calmMoment();
    if (open !== this || this.pswp.isDestroying) return;
    this.renumber();
  }

  /** The same slides have other numbers now, and new neighbours. */
  renumber() {
    const { pswp } = this;
    const current = this.reel.indexOf(pswp.currSlide.data.id);
    if (current < 0) return;
    for (const content of this.contents) {
      const index = this.reel.indexOf(content.data.id);
      content.index = index < 0 ? -1 - content.index : index;
    }
    pswp.currIndex = pswp.potentialIndex = current;
    pswp.mainScroll.itemHolders.forEach((holder, n) => {
      if (holder.slide) holder.slide.index = this.reel.indexOf(holder.slide.data.id);
      if (n !== 1) pswp.setContent(holder, current + n - 1);
    });
    pswp.appendHeavy();
    pswp.contentLoader.updateLazy();
    pswp.dispatch("change");
  }

  /** Between gestures: nothing moves under a finger. */
  async calmMoment() {
    const { pswp } = this;
    const busy = () =>
      !pswp.opener.isOpen || pswp.gestures.isDragging || pswp.gestures.isZooming || pswp.mainScroll.isShifted();
    while (busy() && !pswp.isDestroying) await new Promise(requestAnimationFrame);
  }

  async reach() {
    try {
      while (await this.reel.reach(this.pswp.currIndex)) this.fill();
    } catch {
      // Said below, if it is this photo that is missing.
    }
    const { shown } = this;
    if (this.slide || this.reel.asking || !shown || shown.state === "failed") return;
    shown.state = "failed";
    shown.retry = () => {
      shown.state = "shown";
      this.say();
      this.reach();
    };
    this.say();
  }

  /** Slides that were waited for are here. */
  fill() {
    const { pswp } = this;
    for (const content of [...this.contents]) {
      if (content.type !== "waiting" || !this.reel.slides[content.index]) continue;
      const near = Math.abs(content.index - pswp.currIndex) <= 1;
      if (near) pswp.refreshSlideContent(content.index);
      else pswp.contentLoader.removeByIndex(content.index);
      this.contents.delete(content);
    }
  }

  // -- what the person does

  key(event) {
    const { originalEvent: pressed } = event;
    const { pswp } = this;
    if (pressed.ctrlKey || pressed.metaKey || pressed.altKey) return;
    const inField = pressed.target.closest?.("input, select, video, [data-player-bar]");
    if (inField && pressed.key !== "Escape" && pressed.key !== "Tab") {
      event.preventDefault(); // theirs
      return;
    }
    const pan = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[pressed.key];
    const actions = {
      Home: () => pswp.goTo(0),
      End: () => pswp.goTo(this.reel.total - 1),
      PageUp: () => pswp.prev(),
      PageDown: () => pswp.next(),
      r: () => this.turn(),
      R: () => this.turn(),
      "+": () => this.zoom(1.6),
      "=": () => this.zoom(1.6),
      "-": () => this.zoom(1 / 1.6),
      0: () => pswp.currSlide?.zoomTo(pswp.currSlide.zoomLevels.initial, undefined, pswp.options.zoomAnimationDuration),
    };
    let action = actions[pressed.key];
    if (pan && pressed.shiftKey && pswp.currSlide?.isPannable()) {
      const { currSlide } = pswp;
      action = () => currSlide.panTo(currSlide.pan.x + 80 * pan[0], currSlide.pan.y + 80 * pan[1]);
    }
    if (pressed.key === " " && !pressed.target.closest?.("button, a")) {
      action = () => document.dispatchEvent(new CustomEvent("player:toggle"));
    }
    if (!action) return;
    event.preventDefault();
    pressed.preventDefault();
    action();
  }

  zoom(factor) {
    const { currSlide } = this.pswp;
    currSlide?.zoomTo(currSlide.currZoomLevel * factor, undefined, this.pswp.options.zoomAnimationDuration);
  }

  clicked(point) {
    // The second half of a double click would zoom out again.
    if (performance.now() - (this.clickedAt ?? -1000) < 350) return;
    this.clickedAt = performance.now();
    this.pswp.currSlide?.toggleZoom(point);
  }

  /** A quarter to the right, for the eye only: no file is touched. */
  turn() {
    const { currSlide } = this.pswp;
    if (currSlide?.data.type !== "photo") return;
    const turn = ((this.turns.get(currSlide.data.id) ?? 0) + TURN) % 360;
    this.turns.set(currSlide.data.id, turn);
    const { content } = currSlide;
    content.placeholder?.destroy(); // it would lie the wrong way
    content.placeholder = undefined;
    content.shown.element.dataset.turn = turn;
    [content.width, content.height] = [content.height, content.width];
    [currSlide.width, currSlide.height] = [currSlide.height, currSlide.width];
    currSlide.setZoomLevel(currSlide.zoomLevels.initial);
    currSlide.resize();
    currSlide.updateContentSize(true);
    this.announce(turn ? `Turned by ${turn} degrees` : "Upright");
  }

  leaveToVideo(event) {
    const video = event.originalEvent.target.closest?.("video");
    // Its lower part has the controls: dragging the slider is no swipe.
    if (video && event.originalEvent.clientY > video.getBoundingClientRect().bottom - 72) event.preventDefault();
  }

  looked() {
    const { currSlide } = this.pswp;
    if (!currSlide || !this.pswp.opener.isOpen) return;
    const { currZoomLevel, zoomLevels, width, height } = currSlide;
    const closer = currZoomLevel > zoomLevels.initial * 1.01;
    this.pswp.element.classList.toggle("viewer--closer", closer);
    if (closer !== this.isCloser) {
      this.isCloser = closer;
      const { zoom } = this.parts;
      zoom.replaceChildren(drawing(closer ? "out" : "zoom"));
      zoom.setAttribute("aria-label", closer ? "Zoom out" : "Zoom in");
      zoom.title = closer ? "Zoom out (0)" : "Zoom in (+)";
    }
    if (closer) this.shown?.closely(currZoomLevel * Math.max(width, height) * devicePixelRatio);
  }

  // -- what the person sees

  build() {
    const { pswp } = this;
    const button = (name, label, action, key) => {
      const element = document.createElement("button");
      element.type = "button";
      element.className = `viewer__button viewer__button--${name}`;
      element.title = key ? `${label} (${key})` : label;
      element.setAttribute("aria-label", label);
      element.append(drawing(name));
      element.addEventListener("click", action);
      return element;
    };
    const link = (name, label) => {
      const element = document.createElement("a");
      element.className = `viewer__button viewer__button--${name}`;
      element.title = label;
      element.setAttribute("aria-label", label);
      element.append(drawing(name));
      return element;
    };
    const box = (name, tag = "div") => {
      const element = document.createElement(tag);
      element.className = `viewer__${name}`;
      return element;
    };
    const parts = (this.parts = {
      close: button("close", "Close", () => pswp.close(), "Esc"),
      previous: button("previous", "Previous", () => pswp.prev(), "←"),
      next: button("next", "Next", () => pswp.next(), "→"),
      count: box("count"),
      turn: button("turn", "Turn", () => this.turn(), "R"),
      zoom: button("zoom", "Zoom in", () => pswp.currSlide?.toggleZoom(), "+"),
      download: link("download", "Download the original"),
      from: box("from", "p"),
      caption: box("caption", "p"),
      uses: box("uses", "p"),
      message: link("message", "Show the message"),
      use: link("link", "Link to a quote, appointment or invoice"),
      share: link("share", "Share"),
      page: link("details", "Details"),
      note: box("note"),
      live: box("live"),
    });
    for (const [part, words] of [["message", "Message"], ["use", "Link"], ["share", "Share"], ["page", "Details"]]) {
      const element = parts[part];
      element.classList.add("viewer__button--worded");
      const label = document.createElement("span");
      label.textContent = words;
      element.append(label);
    }
    parts.download.download = "";
    parts.live.className = "unseen";
    parts.live.setAttribute("role", "status");
    parts.note.setAttribute("role", "status");
    parts.message.addEventListener("click", (event) => this.toMessage(event));

    const register = (name, build) => pswp.ui.registerElement({ name, className: `viewer__${name}`, appendTo: "root", onInit: build });
    register("head", (head) => {
      const middle = box("middle");
      middle.append(parts.previous, parts.count, parts.next);
      const tools = box("tools");
      tools.append(parts.turn, parts.zoom, parts.download);
      head.append(parts.close, middle, tools);
      this.head = head;
    });
    register("foot", (foot) => {
      const about = box("about"); // lies over the picture: what comes and goes must not move it
      about.append(parts.note, parts.caption, parts.uses);
      const actions = box("actions");
      actions.append(parts.message, parts.use, parts.share, parts.page);
      foot.append(about, parts.from, actions);
      this.footElement = foot;
    });
    pswp.on("initialLayout", () => {
      pswp.element.append(parts.live);
      document.dispatchEvent(new CustomEvent("viewer:opened", { detail: pswp.element }));
      this.measure();
    });
    this.remeasure = () => this.measure() && pswp.updateSize(true);
    pswp.on("openingAnimationEnd", () => pswp.updateSize(true)); // slides keep still until then
    this.observer = new ResizeObserver(this.remeasure);
    this.observer.observe(pswp.element);
    document.addEventListener("player:bar", this.remeasure);
  }

  /** Keep the picture clear of what stands above and below it. Whether that has changed. */
  measure() {
    const head = this.head.offsetHeight;
    const foot = this.pswp.element.clientHeight - this.footElement.offsetTop;
    if (head === this.headRoom && foot === this.footRoom) return false;
    this.headRoom = head;
    this.footRoom = foot;
    return true;
  }

  changed() {
    const { pswp, slide, parts } = this;
    if (!parts) return;
    const here = pswp.currIndex + 1;
    parts.count.textContent = `${here} of ${this.reel.total}`;
    parts.previous.disabled = here <= 1;
    parts.next.disabled = here >= this.reel.total;
    this.describe(slide);
    this.say();
    pswp.mainScroll.itemHolders.forEach((holder, n) => {
      holder.el.setAttribute("aria-hidden", n === 1 ? "false" : "true");
      holder.el.inert = n !== 1;
      holder.el.setAttribute("aria-label", n === 1 ? `${here} of ${this.reel.total}` : "");
    });
    if (slide) {
      if (slide.id !== this.announced && (slide.time || this.alone)) {
        this.announced = slide.id;
        const kind = slide.kind === "video" ? "Video" : "Photo";
        const from = slide.time ? `, from ${slide.sender}, ${slide.time}` : "";
        const said = slide.caption ? `. ${slide.caption}` : "";
        this.announce(`${kind} ${here} of ${this.reel.total}${from}${said}`);
      }
      if (!pswp.isDestroying) history.replaceState(history.state, "", HASH + slide.id);
    }
    this.reach();
  }

  describe(slide) {
    const { parts } = this;
    const known = slide ?? {};
    parts.from.replaceChildren();
    if (known.time) {
      const who = document.createElement("strong");
      who.textContent = `From ${known.sender}`;
      const when = document.createElement("time");
      when.textContent = known.time;
      when.title = known.exact_time;
      parts.from.append(who, " ", when);
    }
    parts.caption.textContent = known.caption ?? "";
    parts.caption.hidden = !known.caption;
    parts.uses.replaceChildren(
      ...(known.uses ?? []).map(({ label, url }) => {
        const use = document.createElement("a");
        use.href = url;
        use.textContent = label;
        return use;
      }),
    );
    parts.uses.hidden = !known.uses?.length;
    const go = (part, address) => {
      parts[part].hidden = !address;
      if (address) parts[part].href = address;
    };
    go("download", known.download_url);
    go("message", known.message_url ?? (known.message && `#${known.message}`));
    const here = location.pathname + location.search + HASH + known.id;
    go("use", known.link_url && `${known.link_url}&next=${encodeURIComponent(here)}`); // and back
    go("share", known.share_url);
    go("page", known.page_url);
    const isPhoto = known.type === "photo";
    parts.turn.hidden = parts.zoom.hidden = !isPhoto;
  }

  /** What goes on with this picture, in words, and what to do about it. */
  say() {
    const { note } = this.parts;
    const shown = this.shown;
    const words =
      shown?.state === "failed"
        ? ["This photo could not be loaded.", true]
        : {
            loading: ["Fetching every detail…"],
            making: ["The full-size picture is being made…"],
            failed: ["The full detail could not be loaded.", true],
            absent: ["This is all that can be shown here. The download has every detail."],
          }[shown?.detail] ?? [""];
    if (note.dataset.words === words[0]) return;
    note.dataset.words = words[0];
    note.replaceChildren(words[0]);
    if (words[1]) {
      const again = document.createElement("button");
      again.type = "button";
      again.className = "viewer__again";
      again.textContent = "Try again";
      again.addEventListener("click", () => {
        this.pswp.element.focus();
        this.shown?.retry();
      });
      note.append(" ", again);
    }
  }

  announce(words) {
    this.parts.live.textContent = words;
  }

  // -- away again

  toMessage(event) {
    const message = this.slide?.message && document.getElementById(this.slide.message);
    if (!message) return; // on another page: the link leads there
    event.preventDefault();
    this.target = message;
    this.pswp.close();
  }

  async arrive(message) {
    await this.left; // our own address first, then the message's
    location.replace(`#${message.id}`);
    message.tabIndex = -1;
    message.focus();
  }

  closing() {
    this.last = this.slide?.id;
    for (const one of this.still ?? []) one.inert = false;
    if (this.pushed && location.hash.startsWith(HASH)) {
      this.pushed = false;
      this.left = new Promise((done) => addEventListener("popstate", done, { once: true }));
      history.back();
    } else if (location.hash.startsWith(HASH)) {
      history.replaceState(history.state, "", location.pathname + location.search);
    }
  }

  closed() {
    this.reel.controller.abort();
    this.observer.disconnect();
    document.removeEventListener("player:bar", this.remeasure);
    document.dispatchEvent(new CustomEvent("viewer:closed"));
    if (open === this) open = null;
    if (this.target) {
      this.arrive(this.target);
      return;
    }
    const thumbnail = thumbnailOf(this.last) ?? thumbnailOf(this.first);
    if (!thumbnail) return;
    thumbnail.focus({ preventScroll: true });
    const box = thumbnail.getBoundingClientRect();
    if (box.bottom < 0 || box.top > innerHeight) thumbnail.scrollIntoView({ block: "center" });
  }
}

function waiting() {
  const element = document.createElement("div");
  element.className = "viewer__waiting pswp__content";
  element.textContent = "Loading…";
  return { element, state: "shown", detail: "none", release() {}, closely() {} };
}

function thumbnailOf(id) {
  return id ? document.querySelector(`a[data-slide="${CSS.escape(id)}"]`) : null;
}

// ---- doors ------------------------------------------------------------------------------------

async function show(list, id, fallback) {
  if (open) return;
  open = { pswp: { isDestroying: false } }; // one tap, one viewer, however slow the module
  let PhotoSwipe;
  try {
    PhotoSwipe = await photoswipe();
  } catch {
    open = null;
    if (fallback) location.assign(fallback);
    return;
  }
  const reel = new Reel(list.dataset.slides, [...list.querySelectorAll("a[data-slide]")]);
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
    history.scrollRestoration = "manual"; // Back closes the viewer; the page stays where it is
    history.pushState({ viewer: true }, "", HASH + id);
  }
  open = new Viewer(PhotoSwipe, reel, id, !here || history.state?.viewer === true);
  open.first = id;
  open.mode = mode;
  open.start();
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest("a[data-slide]");
  const list = link?.closest("[data-slides]");
  if (!list) return;
  event.preventDefault();
  show(list, link.dataset.slide, link.href);
});

addEventListener("popstate", () => {
  if (open?.close || open?.pswp?.close) {
    if (!location.hash.startsWith(HASH)) {
      open.pushed = false;
      open.pswp.close();
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
  (globalThis.requestIdleCallback ?? setTimeout)(() => photoswipe().catch(() => {}));
}

if (document.readyState === "complete") fetchAhead();
else addEventListener("load", fetchAhead);
