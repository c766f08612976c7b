// The search page: suggestions while typing, and keys to walk the results.
const field = document.getElementById("id_q");
const list = document.getElementById("suggestions");
const PAUSE_MS = 150;
let timer;
let asked = 0;

field.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(suggest, PAUSE_MS);
});

async function suggest() {
  const number = ++asked;
  const query = new URLSearchParams({ q: field.value.slice(0, 100) });
  const collection = document.getElementById("id_collection").value;
  if (collection) query.set("collection", collection);
  if (!field.value.trim()) return list.replaceChildren();
  const response = await fetch(`${field.dataset.suggestions}?${query}`, { headers: { Accept: "application/json" } });
  if (!response.ok || number !== asked) return;
  const { results } = await response.json();
  list.replaceChildren(...results.map((text) => Object.assign(document.createElement("option"), { value: text })));
}

// Empty filters stay out of the address, so that a link that is shared says only what matters.
document.querySelector("[data-search]").addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") {
    event.preventDefault();
    field.select();
  } else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
});

function move(by) {
  const hits = [...document.querySelectorAll("[data-hit]")];
  const now = hits.indexOf(document.activeElement);
  hits[now < 0 ? 0 : Math.min(Math.max(now + by, 0), hits.length - 1)]?.focus();
}
