// Keys for everything: an element names its own key in data-shortcut, prints it in a <kbd>, and is listed under "?".
const STORED = "feedback-single-keys";

export function startShortcuts(extra = {}) {
  const dialog = document.querySelector("[data-help]");
  const toggle = dialog?.querySelector("[data-single-keys]");
  if (toggle) {
    toggle.checked = localStorage.getItem(STORED) !== "off";
    toggle.addEventListener("change", () => localStorage.setItem(STORED, toggle.checked ? "on" : "off"));
    list(dialog.querySelector("[data-shortcut-list]"));
    for (const button of document.querySelectorAll("[data-action='help']")) {
      button.addEventListener("click", () => dialog.showModal());
    }
  }
  document.addEventListener("keydown", (event) => {
    if (dialog?.open) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) return press("Enter", event);
    if (event.ctrlKey || event.metaKey) {
      const key = event.key.toLowerCase();
      if (key !== "z" || isTyping(event.target)) return;
      return press(event.shiftKey ? "y" : "z", event);
    }
    if (isTyping(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.altKey || (toggle && !toggle.checked)) return;
    // Enter is then for what has the focus, or for the small form of a menu.
    if (event.key === "Enter" && event.target.closest("a, button, summary, [data-menu] form")) return;
    const digit = /^(?:Digit|Numpad)(\d)$/.exec(event.code)?.[1];
    const name = digit ? (event.shiftKey ? `Shift+${digit}` : digit) : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (extra[name]) {
      event.preventDefault();
      extra[name]();
    } else press(name, event);
  });
}

function press(name, event) {
  const element = document.querySelector(`[data-shortcut="${CSS.escape(name)}"]:not(:disabled)`);
  if (!element || element.closest("fieldset:disabled") || !element.checkVisibility?.()) {
    if (!element || element.type !== "radio") return;
  }
  event.preventDefault();
  if (element.matches("textarea, input:not([type=radio])")) element.focus();
  else element.click();
  // Who opens something by its key goes on in it by keys.
  const opened = element.matches("summary") && element.closest("details[open]");
  if (opened) (opened.querySelector("input:not([type=hidden]), textarea, button, a") ?? element).focus();
}

function isTyping(element) {
  return element.matches?.("input:not([type=radio], [type=checkbox], [type=range]), textarea, select, [contenteditable]");
}

function list(target) {
  for (const element of document.querySelectorAll("[data-shortcut]")) {
    const host = element.matches("textarea") ? document.querySelector(`label[for="${element.id}"]`) : element.closest("label") ?? element;
    const key = host.querySelector("kbd")?.textContent ?? element.dataset.shortcut.toUpperCase();
    const words = [...host.childNodes].filter((node) => node.nodeName !== "KBD").map((node) => node.textContent);
    const name = element.ariaLabel ?? words.join(" ").trim();
    const term = document.createElement("dt");
    const printed = document.createElement("kbd");
    printed.textContent = key;
    term.append(printed);
    const description = document.createElement("dd");
    const group = element.closest("fieldset.choices")?.querySelector("legend")?.textContent;
    description.textContent = group ? `${group}${group.endsWith("?") ? "" : ":"} ${name}` : name;
    target.append(term, description);
  }
}
