// The drawings on buttons that modules make; those of pages are in templates/icons/.

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  turn: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3M19.5 3v4.500h-4.5",
  zoom: "M16.2 16.200L21 21M10.5 18a7.5 7.5 0 1 1 0-15 7.5 7.5 0 0 1 0 15zM7.5 10.500h6M10.5 7.500v6",
  out: "M16.2 16.200L21 21M10.5 18a7.5 7.5 0 1 1 0-15 7.5 7.5 0 0 1 0 15zM7.5 10.500h6",
  download: "M12 4v11M7 10.500l5 5 5-5M5 20h14",
  message: "M5 5h14v11h-8l-4 4v-4H5z",
  link: "M10 14a4 4 0 0 0 5.7 0l3.1-3.100a4 4 0 0 0-5.7-5.700l-1.2 1.200M14 10a4 4 0 0 0-5.7 0l-3.1 3.100a4 4 0 0 0 5.7 5.700l1.2-1.2",
  share: "M12 15V4M8 7.500L12 3.500l4 4M6 11.500v8.500h12v-8.5",
  details: "M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM12 11v5.500M12 7.500v.100",
  play: "M8 5.500v13l11-6.500z",
  pause: "M8.5 5.500v13M15.5 5.500v13",
  back: "M11.5 4.500a8.5 8.5 0 1 1-7.8 5.500M14.5 1.500l-3 3 3 3",
  forward: "M12.5 4.500a8.5 8.5 0 1 0 7.8 5.500M9.5 1.500l3 3-3 3",
};
const FILLED = new Set(["play"]);
const WORDS = { back: "10", forward: "10" };
const SVG = "http://www.w3.org/2000/svg";

/** An icon that stands in a button which says the same in words. */
export function drawing(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  path.setAttribute("fill", FILLED.has(name) ? "currentColor" : "none");
  path.setAttribute("stroke", "currentColor");
  path.setAttribute("stroke-width", name === "pause" ? "3.2" : "1.9");
  path.setAttribute("stroke-linecap", "round");
  path.setAttribute("stroke-linejoin", "round");
  svg.append(path);
  if (name in WORDS) {
    const words = document.createElementNS(SVG, "text");
    words.setAttribute("x", 12);
    words.setAttribute("y", 16);
    words.setAttribute("class", "icon__words");
    words.textContent = WORDS[name];
    svg.append(words);
  }
  return svg;
}
