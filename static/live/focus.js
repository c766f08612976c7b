// One robot in full: every camera, every dimension with its limits, and what safety had to say.
import { drawRows } from "../plots/actions.js";
import { icon } from "../js/icons.js";
import { formatTime } from "../js/times.js";
import { describeViolation, showVerdict } from "../js/verdicts.js";
import { showPicture } from "./pictures.js";

const TRAIL_SHOWN = 60;

export class Focus {
  #parts = {};
  #pictures = new Map();

  constructor(robot, page) {
    this.robot = robot;
    this.page = page;
    this.element = document.getElementById("focus");
    this.element.replaceChildren(document.getElementById("focus-template").content.cloneNode(true));
    for (const name of ["back", "name", "verdict", "policy", "mark", "flag", "instruction", "cameras", "replay", "facts", "score", "violations", "plot"]) {
      this.#parts[name] = this.element.querySelector(`[data-${name}]`);
    }
    this.#parts.name.textContent = robot.name;
    this.#parts.back.addEventListener("click", () => page.close());
    this.#parts.mark.addEventListener("click", () => page.mark(robot));
    this.#parts.flag.addEventListener("click", () => page.flag(robot));
    this.#parts.flag.hidden = !page.data.flag_url;
    for (const camera of page.data.cameras) this.#addCamera(camera);
    this.element.hidden = false;
    this.#parts.back.focus();
  }

  #addCamera(camera) {
    const figure = document.createElement("figure");
    const image = document.createElement("img");
    image.alt = interpolate(gettext("Camera %s of %s"), [camera, this.robot.name]);
    const caption = document.createElement("figcaption");
    caption.textContent = camera;
    figure.append(image, caption);
    this.#parts.cameras.append(figure);
    this.#pictures.set(camera, image);
  }

  show() {
    const { result } = this.robot;
    for (const [camera, image] of this.#pictures) showPicture(image, this.robot.pictures[camera]);
    showVerdict(this.#parts.verdict, result.safety.verdict);
    this.#parts.policy.textContent = `${result.model.name}@${result.model.version}`;
    this.#parts.instruction.textContent = result.instruction;
    this.#parts.replay.href = this.page.linkTo("result_url", result);
    this.#parts.score.textContent = interpolate(gettext("score %s"), [result.safety.score.toFixed(2)]);
    this.#showFacts(result);
    this.#showViolations(result.safety.violations);
    this.draw();
  }

  #showFacts(result) {
    const { timing } = result;
    const seconds = result.actions.length / this.page.data.control_rate_hz;
    const facts = [
      [gettext("Answered"), formatTime(new Date(result.created_at), "exact")],
      [gettext("Episode"), result.episode ?? "–"],
      [gettext("Step"), result.step ?? "–"],
      [gettext("Total"), `${timing.total_ms.toFixed(1)} ms`],
      [gettext("Queue"), `${timing.queue_ms.toFixed(1)} ms`],
      [gettext("Inference"), interpolate(gettext("%s ms, batch of %s"), [timing.inference_ms.toFixed(1), timing.batch_size])],
      [gettext("Chunk"), interpolate(gettext("%s steps, %s s"), [result.actions.length, seconds.toFixed(2)])],
    ];
    this.#parts.facts.replaceChildren(
      ...facts.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]),
    );
  }

  #showViolations(violations) {
    const items = violations.map((violation) => element("li", describeViolation(violation)));
    if (!items.length) {
      const item = element("li", "");
      item.className = "row muted";
      item.append(icon("pass"), gettext("Every step is inside the action space's limits."));
      items.push(item);
    }
    this.#parts.violations.replaceChildren(...items);
  }

  draw() {
    const { result, trail } = this.robot;
    const past = trail.slice(-TRAIL_SHOWN, -1);
    const length = past.length + Math.max(1, result.actions.length);
    const gap = new Array(past.length).fill(null);
    const ahead = [...gap, ...result.actions];
    // The trail runs into the chunk's first step, so that the two lines meet.
    const behind = [...past, result.actions[0] ?? null];
    const lines = [
      { token: "--plot-past", width: 1.25, values: behind },
      { token: "--plot-sent", width: 2, values: ahead },
    ];
    drawRows(this.#parts.plot, this.page.data.dimensions, lines, { length, cursor: past.length, rowHeight: 72 });
    this.#parts.plot.setAttribute("aria-label", this.page.label(this.robot));
  }

  remove() {
    this.element.hidden = true;
    this.element.replaceChildren();
  }
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
