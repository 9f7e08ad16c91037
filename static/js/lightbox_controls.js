// What stands around a photo in the lightbox: where one is, who sent it and when, what can be done.

import { drawing } from "./icons.js";
import { HASH } from "./photo_link.js";

const WORDS = {
  loading: "Fetching every detail…",
  making: "The full-size picture is being made…",
  failed: "The full detail could not be loaded.",
  absent: "This is all that can be shown here. The download has every detail.",
};

export class Frame {
  /** Built into PhotoSwipe's dialog. `does`: what turn(), toMessage(event) and again() do. */
  constructor(pswp, does) {
    this.pswp = pswp;
    this.again = does.again;
    this.parts = {
      close: button("close", "Close", () => pswp.close(), "Esc"),
      previous: button("previous", "Previous", () => pswp.prev(), "←"),
      next: button("next", "Next", () => pswp.next(), "→"),
      count: box("count"),
      turn: button("turn", "Turn", does.turn, "R"),
      zoom: button("zoom", "Zoom in", () => pswp.currSlide?.toggleZoom(), "+"),
      download: link("download", "Download the original"),
      from: box("from", "p"),
      caption: box("caption", "p"),
      uses: box("uses", "p"),
      message: link("message", "Show the message", "Message"),
      use: link("link", "Link to a quote, appointment or invoice", "Link"),
      share: link("share", "Share", "Share"),
      page: link("details", "Details", "Details"),
      note: box("note"),
      live: box("live"),
    };
    const { parts } = this;
    parts.download.download = "";
    parts.live.className = "unseen";
    parts.live.setAttribute("role", "status");
    parts.note.setAttribute("role", "status");
    parts.message.addEventListener("click", does.toMessage);
    this.register("head", (head) => {
      const middle = box("middle");
      middle.append(parts.previous, parts.count, parts.next);
      const tools = box("tools");
      tools.append(parts.turn, parts.zoom, parts.download);
      head.append(parts.close, middle, tools);
      this.head = head;
    });
    this.register("foot", (foot) => {
      const about = box("about"); // lies over the picture: what comes and goes must not move it
      about.append(parts.note, parts.caption, parts.uses);
      const actions = box("actions");
      actions.append(parts.message, parts.use, parts.share, parts.page);
      foot.append(about, parts.from, actions);
      this.foot = foot;
    });
    pswp.on("initialLayout", () => pswp.element.append(parts.live));
  }

  register(name, onInit) {
    this.pswp.ui.registerElement({ name, className: `lightbox__${name}`, appendTo: "root", onInit });
  }

  /** How high it stands above and below the picture, in pixels. */
  get room() {
    return { head: this.head.offsetHeight, foot: this.pswp.element.clientHeight - this.foot.offsetTop };
  }

  place(here, total, words) {
    const { parts } = this;
    parts.count.textContent = words;
    parts.previous.disabled = here <= 1;
    parts.next.disabled = here >= total;
  }

  zoomed(closer) {
    const { zoom } = this.parts;
    zoom.replaceChildren(drawing(closer ? "out" : "zoom"));
    zoom.setAttribute("aria-label", closer ? "Zoom out" : "Zoom in");
    zoom.title = closer ? "Zoom out (0)" : "Zoom in (+)";
  }

  /** Of a slide, or of one that is not known yet. */
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
    parts.caption.replaceChildren(...[known.problem, known.caption && captionOf(known)].filter(Boolean).flatMap((one) => [one, " "]).slice(0, -1));
    parts.caption.hidden = !parts.caption.textContent;
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
    parts.turn.hidden = parts.zoom.hidden = known.type !== "photo";
  }

  /** What goes on with this picture, in words, and what to do about it. */
  say(shown) {
    const { note } = this.parts;
    const isMissing = shown?.state === "failed";
    const words = isMissing ? "This photo could not be loaded." : WORDS[shown?.detail] ?? "";
    if (note.dataset.words === words) return;
    note.dataset.words = words;
    note.replaceChildren(words);
    if (!isMissing && shown?.detail !== "failed") return;
    const again = document.createElement("button");
    again.type = "button";
    again.className = "lightbox__again";
    again.textContent = "Try again";
    again.addEventListener("click", this.again);
    note.append(" ", again);
  }

  announce(words) {
    this.parts.live.textContent = words;
  }
}

function button(name, label, action, key) {
  const element = document.createElement("button");
  element.type = "button";
  element.addEventListener("click", action);
  return dressed(element, name, label, key ? `${label} (${key})` : label);
}

function link(name, label, words) {
  const element = dressed(document.createElement("a"), name, label);
  if (words) {
    element.classList.add("lightbox__button--worded");
    const short = document.createElement("span");
    short.textContent = words;
    element.append(short);
  }
  return element;
}

function dressed(element, name, label, title = label) {
  element.className = `lightbox__button lightbox__button--${name}`;
  element.title = title;
  element.setAttribute("aria-label", label);
  element.append(drawing(name));
  return element;
}

function box(name, tag = "div") {
  const element = document.createElement(tag);
  element.className = `lightbox__${name}`;
  return element;
}

/** Its caption, which leads to where it is edited. */
function captionOf({ caption, page_url: page }) {
  if (!page) return caption;
  return Object.assign(document.createElement("a"), { href: `${page}#caption`, textContent: caption, title: "Edit the caption" });
}
