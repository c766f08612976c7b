// One robot in the grid.
import { drawStrip } from "../plots/actions.js";
import { showVerdict } from "../js/verdicts.js";
import { showPicture } from "./pictures.js";

const SILENT_AFTER_MS = 10_000;
const ROW_HEIGHT = 20;

export class Card {
  #parts = {};
  #dirty = false;
  #visible = true;

  constructor(robot, page) {
    this.robot = robot;
    this.page = page;
    this.element = document.getElementById("card-template").content.firstElementChild.cloneNode(true);
    for (const name of ["camera", "inset", "verdict", "age", "name", "policy", "instruction", "plot", "latency", "mark", "flag", "open"]) {
      this.#parts[name] = this.element.querySelector(`[data-${name}]`);
    }
    this.element.dataset.robot = robot.name;
    this.#parts.name.textContent = robot.name;
    this.#parts.open.setAttribute("aria-label", interpolate(gettext("%s in full"), [robot.name]));
    this.#parts.open.addEventListener("click", () => page.open(robot));
    this.#parts.mark.addEventListener("click", () => page.mark(robot));
    this.#parts.flag.addEventListener("click", () => page.flag(robot));
    this.#parts.flag.hidden = !page.data.flag_url;
    new IntersectionObserver(([entry]) => {
      this.#visible = entry.isIntersecting;
      if (this.#visible && this.#dirty) this.show();
    }).observe(this.element);
  }

  show() {
    this.#dirty = !this.#visible;
    if (!this.#visible) return;
    const { result, pictures } = this.robot;
    const [first, second] = this.page.data.cameras.filter((camera) => pictures[camera]);
    showPicture(this.#parts.camera, pictures[first]);
    showPicture(this.#parts.inset, pictures[second]);
    showVerdict(this.#parts.verdict, result.safety.verdict);
    write(this.#parts.policy, `${result.model.name}@${result.model.version}`);
    write(this.#parts.instruction, result.instruction);
    const facts = [`${Math.round(result.timing.total_ms)} ms`, interpolate(gettext("batch %s"), [result.timing.batch_size])];
    if (Number.isInteger(result.step)) facts.push(interpolate(gettext("step %s"), [result.step]));
    write(this.#parts.latency, facts.join(" · "));
    this.draw();
    this.element.toggleAttribute("data-flagged", this.robot.flagged.has(result.request_id));
    this.element.toggleAttribute("data-marked", this.page.isMarked(result.request_id));
    this.#parts.plot.setAttribute("aria-label", this.page.label(this.robot));
    this.tick(performance.now());
  }

  draw() {
    drawStrip(this.#parts.plot, this.page.data.dimensions, this.robot.trail, this.robot.result.actions, ROW_HEIGHT);
  }

  tick(now) {
    const age = now - this.robot.heardAt;
    this.element.toggleAttribute("data-silent", age > SILENT_AFTER_MS);
    write(this.#parts.age, formatAge(age));
  }
}

function formatAge(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 2) return gettext("now");
  if (seconds < 120) return interpolate(gettext("%s s ago"), [Math.round(seconds)]);
  return seconds < 7200 ? interpolate(gettext("%s min ago"), [Math.round(seconds / 60)]) : interpolate(gettext("%s h ago"), [Math.round(seconds / 3600)]);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
