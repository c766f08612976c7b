// What every page's frame needs: the theme button, menus that close, local times.
import { startMenus } from "./menus.js";
import { startThemeButton } from "./theme.js";
import { localiseTimes } from "./times.js";

// On a phone the tabs are wider than the screen: the open one is brought into view, without moving the page.
function showOpenTab() {
  const tabs = document.querySelector(".tabs");
  const open = tabs?.querySelector("[aria-current]");
  if (open) tabs.scrollLeft = open.offsetLeft - (tabs.clientWidth - open.offsetWidth) / 2;
}

showOpenTab();
startThemeButton();
startMenus();
localiseTimes(document);
setInterval(() => localiseTimes(document), 30_000);
