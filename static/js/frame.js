// What every page's frame needs: the theme button, menus that close, local times.
import { startMenus } from "./menus.js";
import { startThemeButton } from "./theme.js";
import { localiseTimes } from "./times.js";

startThemeButton();
startMenus();
localiseTimes(document);
setInterval(() => localiseTimes(document), 30_000);
