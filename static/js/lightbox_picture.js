// What a slide shows: a photo (blur, thumbnail, preview, and every pixel once somebody looks that
// closely), a video, or that it is being waited for.

export class Picture {
  constructor(slide, turn, changed) {
    this.slide = slide;
    this.changed = changed; // called when the person may be told something new
    this.element = document.createElement("div");
    this.element.className = "lightbox__picture pswp__img";
    this.element.dataset.turn = turn;
    this.state = "loading"; // then shown, or failed
    this.detail = "none"; // then loading, making, shown, failed
    if (slide.placeholder) this.layer(slide.placeholder, "blur");
    if (slide.thumbnail) this.layer(slide.thumbnail, "thumbnail");
    this.load();
  }

  layer(source, name, alt = "") {
    const image = new Image();
    image.className = `lightbox__layer lightbox__layer--${name}`;
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
    image.className = "lightbox__layer lightbox__layer--full";
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

export function film(slide) {
  const element = document.createElement("div");
  element.className = "lightbox__film";
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

export function waiting() {
  const element = document.createElement("div");
  element.className = "lightbox__waiting pswp__content";
  element.textContent = "Loading…";
  return { element, state: "shown", detail: "none", release() {}, closely() {} };
}
