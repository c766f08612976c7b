// Django's admin leaves some fields without a name that is read aloud. They get the one that everybody else sees.
const NAMED = "[aria-label], [aria-labelledby], [type=hidden]";

function nameFields(root) {
  for (const field of root.querySelectorAll(`.tabular td :is(input, select, textarea):not(${NAMED})`)) {
    const heading = field.closest("table").querySelectorAll("thead th")[field.closest("td").cellIndex];
    if (!field.labels?.length && heading) field.setAttribute("aria-label", heading.textContent.trim());
  }
  for (const field of root.querySelectorAll(`.datetime input:not(${NAMED})`)) {
    const row = field.closest(".form-row")?.querySelector("legend, label")?.textContent.trim() ?? "";
    field.setAttribute("aria-label", `${row} ${field.previousSibling?.textContent.trim() ?? ""}`.trim());
  }
  for (const box of root.querySelectorAll(".select2-selection[role=combobox]:not([aria-label])")) {
    const field = box.closest(".select2-container").previousElementSibling;
    const name = field?.labels?.[0]?.textContent.trim() || field?.getAttribute("aria-label");
    if (!name) continue;
    box.setAttribute("aria-label", name);
    box.removeAttribute("aria-labelledby");
    box.querySelector("[role=textbox]")?.setAttribute("aria-label", name);
  }
  for (const heading of root.querySelectorAll(".tabular thead th:empty")) {
    heading.append(Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: gettext("Row") }));
  }
  for (const hint of root.querySelectorAll(".help-tooltip[aria-label]")) hint.setAttribute("role", "img");
}

// Django's own scripts build boxes and rows whenever they get to it.
new MutationObserver(() => nameFields(document)).observe(document.body, { childList: true, subtree: true });
nameFields(document);

// On a narrow screen the filters would push the list's end far away: they open one by one.
if (matchMedia("(max-width: 48rem)").matches) {
  for (const group of document.querySelectorAll("#changelist-filter details")) group.open = false;
}
