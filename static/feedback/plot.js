// One action dimension over the steps of a chunk: lines, limits and points to drag. A slider for the keyboard.
import { format, points, svg } from "./svg.js";

const HEIGHT = 132;
const MARGIN = { top: 10, right: 14, bottom: 18, left: 50 };
const COARSE = 0.1;
const NORMAL = 0.02;
const FINE = 0.001;

export class Plot {
  constructor({ chunk, dimension, data, editor }) {
    Object.assign(this, { chunk, dimension, data, editor });
    this.column = data.columns[dimension];
    this.step = 0;
    this.broken = new Set();
    this.width = 320;
    this.scale();
    this.build();
    this.layOut();
    // Drawn in real pixels, so that text and points keep their size in a wide plot.
    new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (!width || width === this.width) return;
      this.width = width;
      this.layOut();
    }).observe(this.drawing);
  }

  // The vertical range: the limits, or where there are none what is drawn, with some air.
  scale() {
    const sides = this.data.sides.map((side) => side.chunk);
    const drawn = [this.data.original, this.data.proposed, this.data.compared, ...sides, this.chunk.values]
      .filter(Boolean)
      .flatMap((chunk) => chunk.map((row) => row[this.dimension]))
      .filter(Number.isFinite);
    let low = Math.min(...drawn, this.column.low ?? Infinity);
    let high = Math.max(...drawn, this.column.high ?? -Infinity);
    if (high - low < 1e-9) [low, high] = [low - 1, high + 1];
    const air = (high - low) * 0.06;
    [this.bottom, this.top] = [low - air, high + air];
    this.range = high - low;
  }

  x(step) {
    const inner = this.width - MARGIN.left - MARGIN.right;
    return MARGIN.left + (this.chunk.steps > 1 ? (step / (this.chunk.steps - 1)) * inner : inner / 2);
  }

  y(value) {
    const inner = HEIGHT - MARGIN.top - MARGIN.bottom;
    return MARGIN.top + ((this.top - value) / (this.top - this.bottom)) * inner;
  }

  valueAt(y) {
    const inner = HEIGHT - MARGIN.top - MARGIN.bottom;
    return this.top - ((y - MARGIN.top) / inner) * (this.top - this.bottom);
  }

  build() {
    const { name, unit } = this.column;
    this.drawing = svg("svg", { "aria-hidden": "true", height: HEIGHT });
    this.title = document.createElement("span");
    this.title.className = "plot-name";
    this.title.textContent = unit ? `${name} [${unit}]` : name;
    this.reading = document.createElement("output");
    this.reading.className = "plot-value mono";
    const head = document.createElement("div");
    head.className = "plot-head";
    head.append(this.title, this.reading);

    this.element = document.createElement("div");
    this.element.className = "plot";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "slider");
    this.element.setAttribute("aria-label", unit ? `${name}, ${unit}` : name);
    this.element.append(head, this.drawing);
    this.element.addEventListener("focus", () => this.editor.select(this.dimension, this.step));
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.drawing.addEventListener("pointerdown", (event) => this.onPointerDown(event));
  }

  layOut() {
    const { low, high } = this.column;
    const right = this.width - MARGIN.right;
    this.drawing.replaceChildren();
    this.drawing.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    for (let step = 0; step < this.chunk.steps; step += 1) {
      const x = this.x(step).toFixed(1);
      this.drawing.append(svg("line", { class: "grid", x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
      const every = this.chunk.steps > 16 ? 5 : 1;
      if (step % every === 0) this.label(step + 1, x, HEIGHT - 4, "middle");
    }
    this.marker = svg("rect", { class: "selected-step", y: MARGIN.top, height: HEIGHT - MARGIN.top - MARGIN.bottom, width: 14, rx: 3 });
    this.drawing.append(this.marker);
    for (const limit of [low, high]) {
      if (limit === null) continue;
      const y = this.y(limit).toFixed(1);
      this.drawing.append(svg("line", { class: "limit", x1: MARGIN.left, x2: right, y1: y, y2: y }));
      this.label(format(limit, this.range), MARGIN.left - 8, this.y(limit) + 3.5, "end");
    }
    if (this.bottom < 0 && this.top > 0 && low !== 0 && high !== 0) {
      const zero = this.y(0).toFixed(1);
      this.drawing.append(svg("line", { class: "zero", x1: MARGIN.left, x2: right, y1: zero, y2: zero }));
      this.label("0", MARGIN.left - 8, this.y(0) + 3.5, "end");
    }
    this.line("proposed", this.data.proposed);
    this.line("sent", this.data.original);
    this.line("compared", this.data.compared);
    this.data.sides.forEach((side, index) => this.line(`side side-${index + 1}`, side.chunk));
    this.corrected = svg("polyline", { class: "line corrected" });
    this.drawing.append(this.corrected);
    this.handles = this.chunk.values.map((_row, step) => {
      const handle = svg("circle", { class: "handle", r: 4.5, cx: this.x(step).toFixed(1) });
      this.drawing.append(handle);
      return handle;
    });
    this.draw();
  }

  label(text, x, y, anchor) {
    const element = svg("text", { x, y, "text-anchor": anchor });
    element.textContent = text;
    this.drawing.append(element);
  }

  line(name, chunk) {
    if (!chunk || chunk.length !== this.chunk.steps) return;
    const path = chunk.map((row, step) => [this.x(step), this.y(row[this.dimension])]);
    this.drawing.append(svg("polyline", { class: `line ${name}`, points: points(path) }));
  }

  draw(broken = this.broken) {
    this.broken = broken;
    const values = this.chunk.values.map((row) => row[this.dimension]);
    const shown = values.map((value, step) => [this.x(step), this.y(Number.isFinite(value) ? value : 0)]);
    this.corrected.setAttribute("points", points(shown));
    const changed = values.some((value, step) => value !== this.data.original[step][this.dimension]);
    this.corrected.classList.toggle("unchanged", !changed);
    this.handles.forEach((handle, step) => {
      handle.setAttribute("cy", shown[step][1].toFixed(1));
      handle.classList.toggle("broken", broken.has(step));
      handle.classList.toggle("changed", values[step] !== this.data.original[step][this.dimension]);
    });
    this.marker.setAttribute("x", (this.x(this.step) - 7).toFixed(1));
    const { unit, low, high } = this.column;
    const text = format(values[this.step], this.range);
    this.reading.textContent = unit ? `${text} ${unit}` : text;
    this.element.classList.toggle("plot-broken", broken.size > 0);
    this.element.setAttribute("aria-valuenow", values[this.step]);
    if (low !== null) this.element.setAttribute("aria-valuemin", low);
    if (high !== null) this.element.setAttribute("aria-valuemax", high);
    this.element.setAttribute("aria-valuetext", `${text} ${unit}, ${this.step + 1} / ${this.chunk.steps}`);
  }

  selectStep(step) {
    this.step = Math.min(this.chunk.steps - 1, Math.max(0, step));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey) return;
    const size = this.range * (event.shiftKey ? COARSE : event.altKey ? FINE : NORMAL);
    const actions = {
      ArrowUp: () => this.nudge(size),
      ArrowDown: () => this.nudge(-size),
      PageUp: () => this.nudge(this.range * COARSE),
      PageDown: () => this.nudge(-this.range * COARSE),
      ArrowLeft: () => this.editor.select(this.dimension, this.step - 1),
      ArrowRight: () => this.editor.select(this.dimension, this.step + 1),
      Home: () => this.editor.select(this.dimension, 0),
      End: () => this.editor.select(this.dimension, this.chunk.steps - 1),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  }

  nudge(difference) {
    if (this.editor.isReadOnly) return;
    const value = this.chunk.values[this.step][this.dimension] + difference;
    this.chunk.set(this.step, this.dimension, rounded(value, this.range), { following: this.editor.movesFollowing });
  }

  onPointerDown(event) {
    const place = this.place(event);
    const inner = this.width - MARGIN.left - MARGIN.right;
    const step = Math.round(((place.x - MARGIN.left) / inner) * (this.chunk.steps - 1));
    this.element.focus();
    this.editor.select(this.dimension, step);
    if (this.editor.isReadOnly) return;
    event.preventDefault();
    this.drawing.setPointerCapture(event.pointerId);
    this.chunk.beginStroke();
    const following = this.editor.movesFollowing || event.shiftKey;
    const move = (moved) => {
      const value = rounded(this.valueAt(this.place(moved).y), this.range);
      this.chunk.set(this.step, this.dimension, value, { following });
    };
    const grip = this.y(this.chunk.values[this.step][this.dimension]);
    if (Math.abs(grip - place.y) > 8) move(event);
    const end = () => {
      this.drawing.removeEventListener("pointermove", move);
      this.chunk.endStroke();
    };
    this.drawing.addEventListener("pointermove", move);
    this.drawing.addEventListener("pointerup", end, { once: true });
    this.drawing.addEventListener("pointercancel", end, { once: true });
  }

  place(event) {
    const box = this.drawing.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * this.width,
      y: ((event.clientY - box.top) / box.height) * HEIGHT,
    };
  }
}

// A drag cannot be finer than a ten-thousandth of the range; short numbers are easier to read back.
function rounded(value, range) {
  const digits = Math.max(0, 4 - Math.floor(Math.log10(range || 1)));
  return Number(value.toFixed(Math.min(9, digits)));
}
