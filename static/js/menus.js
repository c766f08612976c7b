// A <details data-menu> opens by itself; this closes it as people expect.
export function startMenus() {
  document.addEventListener("click", (event) => closeMenus(event.target.closest("[data-menu]")));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("[data-menu][open]");
    closeMenus(null);
    menu?.querySelector("summary").focus();
  });
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    if (menu !== except) menu.removeAttribute("open");
  }
}
