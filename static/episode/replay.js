// The replay: pictures, plots and facts of one result at a time, moved by slider, keys or the plots themselves.
import { drawRows, rangeOf } from "../plots/actions.js";
import { post } from "../js/post.js";
import { toast } from "../js/toasts.js";
import { showVerdict } from "../js/verdicts.js";
import { showFacts, showViolations } from "./facts.js";
import { chunkLines, chunkLinesOf, episodeLines, episodeLinesOf, SENT } from "./lines.js";
import { Pictures } from "./pictures.js";

const ROW_HEIGHT = 72;
const FASTEST_MS = 60;
const SLOWEST_MS = 1500;

class Replay {
  at = 0;
  mode = "episode";
  compared = "";
  besideEachOther = false;
  #timer = null;
  #scale = null;

  constructor(data) {
    this.data = data;
    this.frames = data.frames;
    this.pictures = new Pictures(document.getElementById("cameras"), data.cameras, this.frames);
    for (const id of ["scrub", "timeline", "back", "play", "forward", "issue", "position", "verdict", "facts", "violations", "plot", "compare", "copy", "beside", "version", "other"]) {
      this[id] = document.getElementById(id);
    }
  }

  start() {
    document.getElementById("replay").hidden = false;
    this.#buildTimeline();
    this.#offerComparisons();
    this.scrub.addEventListener("input", () => this.go(Number(this.scrub.value)));
    this.back.addEventListener("click", () => this.go(this.at - 1));
    this.forward.addEventListener("click", () => this.go(this.at + 1));
    this.play.addEventListener("click", () => this.togglePlay());
    this.issue.addEventListener("click", () => this.nextIssue());
    this.copy.addEventListener("click", () => this.#copyLink());
    this.ofResult = [...document.querySelectorAll("[data-of-result]")];
    this.correct = document.querySelector("[data-correct]");
    this.correct?.addEventListener("click", () => this.#askToCorrect());
    this.otherPlot = document.getElementById("other-plot");
    this.beside.addEventListener("click", () => this.#putBeside(!this.besideEachOther));
    this.compare.addEventListener("change", () => this.#compareWith(this.compare.value));
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.addEventListener("click", () => this.#showMode(button.dataset.mode));
    }
    this.plot.addEventListener("pointerdown", (event) => this.#pick(event));
    this.plot.addEventListener("pointermove", (event) => event.buttons && this.#pick(event));
    document.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("themechange", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.plot.parentElement);
    const wanted = this.frames.findIndex((frame) => frame.request_id === this.data.start_at);
    this.go(Math.max(0, wanted));
  }

  go(index) {
    const frames = this.frames;
    this.at = Math.min(frames.length - 1, Math.max(0, index));
    const frame = frames[this.at];
    this.scrub.value = this.at;
    this.scrub.setAttribute("aria-valuetext", interpolate(gettext("Result %s of %s"), [this.at + 1, frames.length]));
    this.position.textContent = `${this.at + 1} / ${frames.length}`;
    this.timeline.querySelector("[data-now]")?.removeAttribute("data-now");
    this.timeline.children[this.at].setAttribute("data-now", "");
    this.pictures.show(this.at);
    showVerdict(this.verdict, frame.safety.verdict);
    showFacts(this.facts, frame, this.data.state_names);
    showViolations(this.violations, frame.safety.violations);
    for (const link of this.ofResult.filter((each) => each.href)) link.href = this.#addressFor(link, frame);
    this.draw();
  }

  draw() {
    const episode = this.mode === "episode";
    const overlaid = this.besideEachOther ? "" : this.compared;
    const lines = episode ? episodeLines(this.frames, overlaid) : chunkLines(this.frames[this.at], overlaid);
    const others = episode ? episodeLinesOf(this.frames, this.compared) : chunkLinesOf(this.frames[this.at], this.compared);
    const length = episode ? this.frames.length : Math.max(...[...lines, ...others].map((line) => line.values.length), 1);
    const how = { length, cursor: episode ? this.at : null, rowHeight: ROW_HEIGHT };
    // Two plots are comparable only over the same ranges.
    const dimensions = this.besideEachOther ? this.#widened([...lines, ...others]) : this.data.dimensions;
    this.#scale = drawRows(this.plot, dimensions, lines, { ...how, read: SENT });
    this.plot.setAttribute("aria-label", interpolate(gettext("Actions of result %s"), [this.at + 1]));
    if (!this.besideEachOther) return;
    this.version.textContent = this.frames[this.at].model;
    drawRows(this.otherPlot, dimensions, others, how);
    this.otherPlot.setAttribute("aria-label", interpolate(gettext("What %s would have done at result %s"), [this.compared, this.at + 1]));
  }

  togglePlay() {
    if (this.#timer) this.#stop();
    else {
      if (this.at === this.frames.length - 1) this.go(0);
      this.#showPlaying(true);
      this.#advance();
    }
  }

  // Plays at the pace at which it happened, without dead time.
  #advance() {
    const next = this.frames[this.at + 1];
    if (!next) return this.#stop();
    const gap = Date.parse(next.at) - Date.parse(this.frames[this.at].at);
    this.#timer = setTimeout(() => {
      this.go(this.at + 1);
      this.#advance();
    }, Math.min(SLOWEST_MS, Math.max(FASTEST_MS, gap)));
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#showPlaying(false);
  }

  #showPlaying(playing) {
    this.play.setAttribute("aria-label", playing ? gettext("Stop") : gettext("Play"));
    this.play.querySelector("use").setAttribute("href", `${document.documentElement.dataset.icons}#${playing ? "pause" : "play"}`);
  }

  // An issue is a result that was not safe or that somebody corrected.
  nextIssue() {
    const order = [...this.frames.keys()].map((offset) => (this.at + 1 + offset) % this.frames.length);
    const found = order.find((index) => this.frames[index].safety.verdict !== "pass" || this.frames[index].corrected);
    if (found === undefined) toast(gettext("Every result here passed, and nobody corrected one."), { tone: "pass", symbol: "pass" });
    else this.go(found);
  }

  #showMode(mode) {
    this.mode = mode;
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    this.draw();
  }

  #offerComparisons() {
    const models = new Set(this.frames.flatMap((frame) => frame.others.map((other) => other.model)));
    document.getElementById("compare-field").hidden = models.size === 0;
    for (const model of models) this.compare.add(new Option(model, model));
  }

  #compareWith(model) {
    this.compared = model;
    this.beside.hidden = !model;
    document.getElementById("compared-line").hidden = !model;
    document.getElementById("other-version").textContent = model;
    this.#putBeside(this.besideEachOther && Boolean(model));
  }

  // Two versions each in a plot of its own, instead of one over the other.
  #putBeside(beside) {
    this.besideEachOther = beside;
    this.beside.setAttribute("aria-pressed", String(beside));
    document.getElementById("versions").toggleAttribute("data-beside", beside);
    this.other.hidden = !beside;
    this.version.hidden = !beside;
    this.draw();
  }

  // The dimensions with ranges that hold every value of `lines`, for plots that share them.
  #widened(lines) {
    return this.data.dimensions.map((dimension, index) => {
      const values = lines.flatMap((line) => line.values.map((step) => step?.[index] ?? null));
      const [from, to] = rangeOf(dimension, values);
      return { ...dimension, from, to };
    });
  }

  #buildTimeline() {
    for (const frame of this.frames) {
      const mark = document.createElement("i");
      mark.dataset.verdict = frame.safety.verdict;
      if (frame.corrected) mark.dataset.corrected = "";
      this.timeline.append(mark);
    }
  }

  #pick(event) {
    if (this.mode !== "episode" || !this.#scale) return;
    const x = event.offsetX - parseFloat(getComputedStyle(this.plot).paddingLeft);
    const share = (x - this.#scale.left) / (this.#scale.right - this.#scale.left);
    this.go(Math.round(share * (this.frames.length - 1)));
  }

  async #copyLink() {
    const url = new URL(location.href);
    url.searchParams.set("at", this.frames[this.at].request_id);
    await navigator.clipboard.writeText(url.href);
    toast(gettext("Link to this moment copied."), { symbol: "copy", seconds: 2 });
  }

  // To the task about this result; where nobody was asked about it yet, somebody is now.
  async #askToCorrect() {
    try {
      const { task } = await post(this.#addressFor(this.correct, this.frames[this.at]));
      location.assign(task);
    } catch (error) {
      toast(interpolate(gettext("Could not flag it: %s"), [error.message]), { tone: "fail", symbol: "error" });
    }
  }

  // The page wrote the addresses of its first result.
  #addressFor(element, frame) {
    return element.dataset.ofResult.replace(this.frames[0].request_id, frame.request_id);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=range]), select, textarea")) return;
    if (event.key === "ArrowLeft") this.go(this.at - 1);
    else if (event.key === "ArrowRight") this.go(this.at + 1);
    else if (event.key === "Home") this.go(0);
    else if (event.key === "End") this.go(this.frames.length - 1);
    else if (event.key === "n") this.nextIssue();
    else if (event.key === "c" && this.correct) this.#askToCorrect();
    else if (event.key === " " && !event.target.closest("button, a, summary")) this.togglePlay();
    else return;
    event.preventDefault();
  }
}

new Replay(JSON.parse(document.getElementById("replay-data").textContent)).start();
