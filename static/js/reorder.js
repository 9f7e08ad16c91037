// A list whose items are dragged to their places ([data-reorder]): with a mouse by the picture,
// with a finger by the handle, so that the page still scrolls. The arrow buttons do the same
// without a reload. Each change is saved at once, with the captions as typed; without this module
// the same form is sent by its buttons.

const EDGE = 90; // px from the edge of the window, where it scrolls by itself
const SPEED = 16; // px a frame, at the very edge
const TREMBLE = 6; // px that are no drag yet

const itemsOf = (form) => [...form.querySelectorAll("[data-reorder-item]")];
const calm = matchMedia("(prefers-reduced-motion: reduce)");

for (const form of document.querySelectorAll("form[data-reorder]")) {
  form.classList.add("is-draggable");
  for (const one of form.querySelectorAll("[data-reorder-hint], [data-reorder-handle]")) one.hidden = false;
}

// --- Saving: one request at a time, the newest wins ------------------------------------------

const saving = new WeakMap();

async function save(form) {
  if (saving.has(form)) {
    saving.set(form, "again");
    return;
  }
  saving.set(form, "once");
  const trouble = form.querySelector("[data-reorder-trouble]");
  const fields = new FormData(form);
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: fields,
      headers: { "X-Requested-With": "fetch" },
      redirect: "error", // to the login: the session has ended
    });
    if (!answer.ok) throw new Error(answer.status);
    for (const was of form.querySelectorAll('input[name^="was-"]')) {
      was.value = fields.get(was.name.replace("was-", "caption-"));
    }
    trouble.hidden = true;
  } catch {
    trouble.hidden = false;
  }
  const again = saving.get(form) === "again";
  saving.delete(form);
  if (again) save(form);
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-reorder]");
  if (form) save(form);
});

// --- Places ----------------------------------------------------------------------------------

function settle(form, items, moved) {
  form.querySelector("[data-reorder-list]").append(...items);
  items.forEach((item, index) => {
    item.style.order = "";
    for (const named of item.querySelectorAll("[aria-label]")) {
      named.ariaLabel = named.ariaLabel.replace(/ \d+/, ` ${index + 1}`);
    }
  });
  form.querySelector("[data-reorder-said]").textContent = `Now ${items.indexOf(moved) + 1} of ${items.length}.`;
  save(form);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-reorder-step]");
  const form = button?.closest("form[data-reorder]");
  if (!form) return;
  event.preventDefault();
  const items = itemsOf(form);
  const item = button.closest("[data-reorder-item]");
  const from = items.indexOf(item);
  const to = from + Number(button.dataset.reorderStep);
  if (to < 0 || to >= items.length) return;
  items.splice(to, 0, ...items.splice(from, 1));
  gliding(items, () => settle(form, items, item));
  // At either end the button is gone; the other one is still there.
  const isVisible = getComputedStyle(button).visibility !== "hidden";
  (isVisible ? button : item.querySelector(`[data-reorder-step="${-button.dataset.reorderStep}"]`)).focus();
});

// Whoever changes places glides there.
function gliding(items, change, except) {
  const before = new Map(items.map((item) => [item, item.getBoundingClientRect()]));
  change();
  if (calm.matches) return;
  before.forEach((old, item) => {
    if (item === except) return;
    const now = item.getBoundingClientRect();
    const x = old.left - now.left;
    const y = old.top - now.top;
    if (x || y) item.animate([{ translate: `${x}px ${y}px` }, { translate: "0" }], { duration: 160, easing: "ease-out" });
  });
}

// --- Dragging --------------------------------------------------------------------------------
// While an item is dragged it only gets another `order`: a touch ends when its element leaves the
// document, even for a moment.

let drag = null;

document.addEventListener("pointerdown", (event) => {
  const grip = event.target.closest("[data-reorder-grip]");
  const form = grip?.closest("form[data-reorder]");
  if (!form || drag || !event.isPrimary || event.button !== 0) return;
  if (event.pointerType === "touch" && !event.target.closest("[data-reorder-handle]")) return;
  event.preventDefault(); // no selection, no dragging of the image itself
  const item = grip.closest("[data-reorder-item]");
  const box = item.getBoundingClientRect();
  drag = {
    form, item, pointer: event.pointerId, items: itemsOf(form), lifted: false,
    startX: event.clientX, startY: event.clientY, x: event.clientX, y: event.clientY,
    holdX: event.clientX - box.left, holdY: event.clientY - box.top,
  };
});

document.addEventListener("pointermove", (event) => {
  if (event.pointerId !== drag?.pointer) return;
  drag.x = event.clientX;
  drag.y = event.clientY;
  if (!drag.lifted && Math.hypot(drag.x - drag.startX, drag.y - drag.startY) > TREMBLE) lift();
  if (drag.lifted) follow();
});

document.addEventListener("pointerup", (event) => {
  if (event.pointerId === drag?.pointer) drop(true);
});
document.addEventListener("pointercancel", (event) => {
  if (event.pointerId === drag?.pointer) drop(false);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drag) drop(false);
});

function lift() {
  drag.lifted = true;
  drag.before = [...drag.items];
  drag.item.classList.add("shot--lifted");
  drag.frame = requestAnimationFrame(scroll);
}

// The item stays under the pointer; where it is over another one, they change places.
function follow() {
  const { item, items, x, y } = drag;
  const over = items.find((other) => {
    const box = other.getBoundingClientRect();
    return other !== item && x >= box.left && x <= box.right && y >= box.top && y <= box.bottom && !other.getAnimations().length;
  });
  if (over) {
    const to = items.indexOf(over);
    gliding(items, () => {
      items.splice(items.indexOf(item), 1);
      items.splice(to, 0, item);
      items.forEach((one, index) => { one.style.order = index; });
    }, item);
  }
  item.style.translate = "";
  const box = item.getBoundingClientRect();
  item.style.translate = `${x - drag.holdX - box.left}px ${y - drag.holdY - box.top}px`;
}

function scroll() {
  if (!drag?.lifted) return;
  const below = drag.y - (innerHeight - EDGE);
  const above = EDGE - drag.y;
  const nearness = Math.min(1, Math.max(below, above) / EDGE);
  if (nearness > 0) {
    window.scrollBy(0, (below > 0 ? 1 : -1) * nearness * SPEED);
    follow();
  }
  drag.frame = requestAnimationFrame(scroll);
}

function drop(isMeant) {
  const { form, item, items, before, lifted, frame } = drag;
  drag = null;
  if (!lifted) return;
  cancelAnimationFrame(frame);
  item.classList.remove("shot--lifted");
  gliding(items, () => {
    item.style.translate = "";
    for (const one of items) one.style.order = "";
    if (isMeant && items.some((one, index) => one !== before[index])) settle(form, items, item);
  });
}
