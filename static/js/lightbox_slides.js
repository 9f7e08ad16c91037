// The list of slides that the lightbox goes through (viewer/web/media/slides.py), and what the page holds of it.

const NEAR = 10; // slides from the edge of what is known: time to ask for more

/** The slides of a list, by index; what is not known yet comes from the server, a page at a time. */
export class Reel {
  constructor(address, links) {
    this.address = address;
    this.slides = links.map(fromPage);
    this.total = this.slides.length;
    this.isWhole = true; // or a window of a list too long to be counted
    this.known = null; // { low, high, before, after }: the stretch that can be gone on from
    this.asking = null;
    this.controller = new AbortController();
  }

  /** Where a slide stands, in words: "3 of 120"; nothing in a window, whose numbers mean nothing. */
  placeOf(here) {
    return this.isWhole ? `${here} of ${this.total}` : "";
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
    this.isWhole = page.is_whole;
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
    if (this.anchor) address.searchParams.set("anchor", this.anchor);
    const answer = await fetch(address, {
      headers: { Accept: "application/json" },
      signal: this.controller.signal,
    });
    if (!answer.ok || answer.redirected) throw new Error(`slides: ${answer.status}`);
    const page = await answer.json();
    this.moment ??= page.as_of;
    this.anchor ??= page.anchor;
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
export function pictureIn(link) {
  return link?.querySelector('img:not([src^="data:"])') ?? null;
}

function sized(slide) {
  // A shape is needed before anything has arrived.
  const known = slide.width > 0 && slide.height > 0;
  return { ...slide, type: slide.kind, w: known ? slide.width : 1200, h: known ? slide.height : 900 };
}
