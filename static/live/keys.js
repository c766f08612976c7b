// Space pauses, M marks, F flags, Escape goes back; arrows move between cards.
export function listenForKeys(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const robot = page.focus?.robot ?? page.robots.get(event.target.closest("[data-robot]")?.dataset.robot);
    if (event.key === " " && !event.target.closest("button, a, summary")) page.togglePause();
    else if (event.key === "Escape" && page.focus) page.close();
    else if (event.key === "m" && robot) page.mark(robot);
    else if (event.key === "f" && robot) page.flag(robot);
    else if (event.key.startsWith("Arrow") && !page.focus) move(event.key);
    else return;
    event.preventDefault();
  });
}

function move(key) {
  const cards = [...document.querySelectorAll("#fleet [data-open]")];
  const at = cards.indexOf(document.activeElement);
  const perRow = cards.filter((card) => card.offsetParent && top(card) === top(cards[0])).length || 1;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow }[key];
  (at < 0 ? cards[0] : cards[at + by])?.focus();
}

function top(element) {
  return Math.round(element.getBoundingClientRect().top);
}
