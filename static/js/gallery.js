// Older files come before one has scrolled to the end; what is looked at stays where it is.

const NEAR = "1200px"; // below the screen

async function more(link) {
  if (link.dataset.loading) return;
  link.dataset.loading = "yes";
  let page;
  try {
    const answer = await fetch(link.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) throw new Error(answer.status);
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    delete link.dataset.loading; // the link is still there, to be tapped
    seen.unobserve(link);
    return;
  }
  const groups = document.querySelector("[data-groups]");
  const first = page.querySelector("[data-tile]")?.dataset.tile;
  for (const group of page.querySelectorAll("[data-groups] > [data-group]")) {
    const known = groups.querySelector(`:scope > [data-group="${group.dataset.group}"] > ul`);
    const added = known ? [...group.querySelector("ul").children] : [group];
    (known ?? groups).append(...added);
    for (const element of added) document.dispatchEvent(new CustomEvent("content:added", { detail: element }));
  }
  if (document.activeElement === link) groups.querySelector(`[data-tile="${first}"] a`)?.focus({ preventScroll: true });
  const next = page.querySelector("[data-older]");
  if (next) {
    link.replaceWith(next);
    seen.observe(next);
  } else {
    link.parentElement.remove();
  }
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) more(entry.target);
}, { rootMargin: NEAR });

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-older]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  seen.observe(link); // after a failure it was left alone
  more(link);
});

document.querySelectorAll("a[data-older]").forEach((link) => seen.observe(link));
