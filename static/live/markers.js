// Moments to come back to. They are this person's own, so they stay in this browser.
import { icon } from "../js/icons.js";
import { formatTime } from "../js/times.js";

const KEPT = 50;

export class Markers {
  #key;
  #markers;

  constructor(collection, linkTo) {
    this.#key = `markers:${collection}`;
    this.#markers = JSON.parse(localStorage.getItem(this.#key) ?? "[]");
    this.linkTo = linkTo;
    this.menu = document.getElementById("markers");
    this.hint = this.menu.firstElementChild;
    this.#show();
  }

  has(requestId) {
    return this.#markers.some((marker) => marker.request_id === requestId);
  }

  add(result) {
    if (this.has(result.request_id)) return;
    const { request_id, robot, instruction, created_at } = result;
    this.#markers = [{ request_id, robot, instruction, created_at }, ...this.#markers].slice(0, KEPT);
    this.#save();
  }

  #remove(requestId) {
    this.#markers = this.#markers.filter((marker) => marker.request_id !== requestId);
    this.#save();
  }

  #save() {
    localStorage.setItem(this.#key, JSON.stringify(this.#markers));
    this.#show();
  }

  #show() {
    document.getElementById("markers-count").textContent = String(this.#markers.length);
    this.menu.replaceChildren(...(this.#markers.length ? this.#markers.map((marker) => this.#row(marker)) : [this.hint]));
  }

  #row(marker) {
    const row = document.createElement("div");
    row.className = "marker";
    const link = document.createElement("a");
    link.href = this.linkTo("result_url", marker);
    const title = document.createElement("span");
    title.textContent = `${marker.robot}, ${formatTime(new Date(marker.created_at), "exact")}`;
    const instruction = document.createElement("span");
    instruction.className = "muted small truncate";
    instruction.textContent = marker.instruction;
    link.append(title, instruction);
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-label", gettext("Remove this marker"));
    button.append(icon("close"));
    button.addEventListener("click", () => this.#remove(marker.request_id));
    row.append(link, button);
    return row;
  }
}
