// The dialog in which photos and videos are looked at: PhotoSwipe, fed with our slides.

import { Frame } from "./lightbox_controls.js";
import { Picture, film, waiting } from "./lightbox_picture.js";
import { pictureIn } from "./lightbox_slides.js";
import { HASH, thumbnailOf } from "./photo_link.js";

const TURN = 90; // degrees
const SEEN = 44; // pixels: what is thinner is a line, and no finger hits it
const STRIP = 4; // times as long as wide

const calm = matchMedia("(prefers-reduced-motion: reduce)");

function isStrip({ x, y }) {
  return Math.max(x, y) > STRIP * Math.min(x, y);
}

/** At first all of a picture; of a strip, or a dot, so much that it can be seen. */
function seen({ fit, elementSize }) {
  return Math.max(fit, SEEN / Math.min(elementSize.x, elementSize.y));
}

/** A strip as wide as the screen: there a page of text can be read. */
function filled({ fill, elementSize }) {
  return isStrip(elementSize) ? Math.min(fill, 1) : 0;
}

export class Lightbox {
  /** `pushed`: whether Back leads to the page without us. */
  constructor(PhotoSwipe, reel, id, pushed) {
    this.reel = reel;
    this.first = id;
    this.pushed = pushed;
    this.turns = new Map();
    this.contents = new Set();
    this.footRoom = this.headRoom = 0;
    const index = Math.max(0, reel.indexOf(id));
    this.pswp = new PhotoSwipe({
      index,
      dataSource: { length: 0 },
      loop: false,
      bgOpacity: 1,
      mainClass: "lightbox",
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
      initialZoomLevel: seen,
      secondaryZoomLevel: (levels) => Math.max(Math.min(levels.fit * 3, Math.max(1, levels.fit * 2)), filled(levels)),
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
    // Of a strip the thumbnail is the middle: drawn as all of it, it would fill the screen.
    pswp.addFilter("useContentPlaceholder", (_, { type, data }) =>
      type === "photo" && !this.turns.get(data.id) && !isStrip({ x: data.w, y: data.h }));
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
      if (content.shown && content.shown === this.shown) this.frame.say(this.shown);
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
    try {
      await this.reel.locate(this.slide.id);
    } catch {
      this.alone = true; // offline, or not of this list: what the page holds is shown all the same
      this.changed();
      return;
    }
    await this.calmMoment();
    if (this.pswp.isDestroying) return;
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
      this.frame.say(this.shown);
      this.reach();
    };
    this.frame.say(this.shown);
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
    this.frame.announce(turn ? `Turned by ${turn} degrees` : "Upright");
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
    this.pswp.element.classList.toggle("lightbox--closer", closer);
    if (closer !== this.isCloser) {
      this.isCloser = closer;
      this.frame.zoomed(closer);
    }
    if (closer) this.shown?.closely(currZoomLevel * Math.max(width, height) * devicePixelRatio);
  }

  // -- what the person sees

  build() {
    const { pswp } = this;
    this.frame = new Frame(pswp, {
      turn: () => this.turn(),
      toMessage: (event) => this.toMessage(event),
      again: () => {
        pswp.element.focus(); // the button goes
        this.shown?.retry();
      },
    });
    pswp.on("initialLayout", () => {
      document.dispatchEvent(new CustomEvent("lightbox:opened", { detail: pswp.element }));
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
    const { head, foot } = this.frame.room;
    if (head === this.headRoom && foot === this.footRoom) return false;
    this.headRoom = head;
    this.footRoom = foot;
    return true;
  }

  changed() {
    const { pswp, slide, frame } = this;
    if (!frame) return;
    this.reach();
    const here = pswp.currIndex + 1;
    const place = this.reel.placeOf(here);
    frame.place(here, this.reel.total, place);
    frame.describe(slide);
    frame.say(this.shown);
    pswp.mainScroll.itemHolders.forEach((holder, n) => {
      holder.el.setAttribute("aria-hidden", n === 1 ? "false" : "true");
      holder.el.inert = n !== 1;
      holder.el.setAttribute("aria-label", n === 1 ? place : "");
    });
    if (slide) {
      if (slide.id !== this.announced && (slide.time || this.alone)) {
        this.announced = slide.id;
        const kind = slide.kind === "video" ? "Video" : "Photo";
        const from = slide.time ? `, from ${slide.sender}, ${slide.time}` : "";
        const said = slide.caption ? `. ${slide.caption}` : "";
        this.frame.announce(`${place ? `${kind} ${place}` : kind}${from}${said}`);
      }
      if (!pswp.isDestroying && !this.leaving) write(HASH + slide.id);
    }
  }

  // -- away again

  /** Back was pressed: the address is the page's own already. */
  leave() {
    const { pswp } = this;
    this.pushed = false;
    this.leaving = true;
    if (pswp.opener.isOpen) pswp.close();
    else pswp.on("openingAnimationEnd", () => pswp.close()); // it heeds none before
  }

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
      write(location.pathname + location.search);
    }
  }

  closed() {
    this.reel.controller.abort();
    this.observer.disconnect();
    document.removeEventListener("player:bar", this.remeasure);
    document.dispatchEvent(new CustomEvent("lightbox:closed"));
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

/** The address, while the page stays. Safari allows a hundred in half a minute: beyond that it keeps an older one. */
function write(address) {
  try {
    history.replaceState(history.state, "", address);
  } catch {
    // The next change may be written again.
  }
}
