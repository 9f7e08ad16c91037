// Where a conversation opens: at what is new, else at its end. No module: it runs before the
// first paint, so nobody sees the page jump.
(() => {
  const timeline = document.querySelector(".timeline");
  const [arrival] = performance.getEntriesByType("navigation");
  // A message was asked for, or the browser knows where this person was.
  if (location.hash || timeline?.dataset.opens || arrival?.type === "back_forward") return;
  const fresh = document.getElementById("new");
  if (fresh) fresh.scrollIntoView({ block: "start", behavior: "instant" });
  else scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
})();
