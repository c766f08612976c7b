import { startShortcuts } from "./shortcuts.js";

startShortcuts();
