// A short word at the edge of the page about what an action did. Read out by screen readers.
import { icon } from "./icons.js";

export function toast(text, { tone = "", symbol = "info", seconds = 5 } = {}) {
  const element = document.createElement("div");
  element.className = "toast";
  element.dataset.tone = tone;
  const words = document.createElement("p");
  words.textContent = text;
  element.append(icon(symbol), words);
  document.getElementById("toasts").append(element);
  setTimeout(() => element.remove(), seconds * 1000);
}
