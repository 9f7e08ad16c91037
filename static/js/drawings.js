// The drawings on buttons that modules make; those of pages are in templates/icons/.

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  turn: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3M19.500 3v4.500h-4.500",
  zoom: "M16.200 16.200L21 21M10.500 18a7.500 7.500 0 1 1 0-15 7.500 7.500 0 0 1 0 15zM7.500 10.500h6M10.500 7.500v6",
  download: "M12 4v11M7 10.500l5 5 5-5M5 20h14",
  message: "M5 5h14v11h-8l-4 4v-4H5z",
  link: "M10 14a4 4 0 0 0 5.700 0l3.100-3.100a4 4 0 0 0-5.700-5.700l-1.200 1.200M14 10a4 4 0 0 0-5.700 0l-3.100 3.100a4 4 0 0 0 5.700 5.700l1.200-1.200",
  share: "M12 15V4M8 7.500L12 3.500l4 4M6 11.500v8.500h12v-8.500",
  details: "M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18zM12 11v5.500M12 7.500v.100",
  play: "M8 5.500v13l11-6.500z",
  pause: "M8.500 5.500v13M15.500 5.500v13",
  back: "M11 8.500L4.500 12l6.500 3.500zM19 8.500L12.500 12l6.500 3.500z",
  forward: "M13 8.500l6.500 3.500-6.500 3.500zM5 8.500l6.500 3.500L5 15.500z",
};
const FILLED = new Set(["play", "back", "forward"]);
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
  return svg;
}
