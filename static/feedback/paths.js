// Where the end effector would go: from above and from the side, original and corrected.
import { points, svg } from "./svg.js";

const SIZE = 150;
const MARGIN = 14;

export class Paths {
  constructor(card, { chunk, data }) {
    this.chunk = chunk;
    this.data = data;
    this.axes = data.columns.flatMap(({ kind }, index) => (kind === "position" ? [index] : [])).slice(0, 3);
    if (this.axes.length < 2) return;
    card.hidden = false;
    this.target = card.querySelector("[data-paths]");
    this.button = card.querySelector("[data-action='path-mode']");
    // Symmetric limits on every axis are those of a step; a place to go to rarely has them.
    this.summed = this.axes.every((axis) => {
      const { low, high } = data.columns[axis];
      return low !== null && high !== null && Math.abs(low + high) < 1e-9;
    });
    this.button.addEventListener("click", () => {
      this.summed = !this.summed;
      this.draw();
    });
    this.draw();
  }

  draw() {
    if (!this.target) return;
    this.button.firstElementChild.textContent = this.summed ? this.button.dataset.displacements : this.button.dataset.positions;
    const [x, y, z] = this.axes;
    const views = z === undefined ? [[x, y]] : [[x, y], [x, z]];
    this.target.replaceChildren(...views.map(([across, up]) => this.view(across, up)));
  }

  view(across, up) {
    const named = { sent: this.data.original, corrected: this.chunk.values };
    const tracks = Object.entries(named).map(([name, chunk]) => [name, this.track(chunk, across, up)]);
    const all = tracks.flatMap(([, track]) => track);
    const xs = all.map(([x]) => x);
    const ys = all.map(([, y]) => y);
    const span = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys), 1e-6);
    const middle = [(Math.max(...xs) + Math.min(...xs)) / 2, (Math.max(...ys) + Math.min(...ys)) / 2];
    const scale = (SIZE - 2 * MARGIN) / span;
    const place = ([x, y]) => [SIZE / 2 + (x - middle[0]) * scale, SIZE / 2 - (y - middle[1]) * scale];
    const names = [across, up].map((axis) => this.data.columns[axis].name);
    const drawing = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": names.join(" / ") });
    for (const [name, track] of tracks) {
      const placed = track.map(place);
      drawing.append(svg("polyline", { class: `line ${name}`, points: points(placed) }));
      const [endX, endY] = placed.at(-1);
      drawing.append(svg("circle", { class: `end ${name}`, r: 3, cx: endX.toFixed(1), cy: endY.toFixed(1) }));
    }
    const label = svg("text", { x: SIZE - 4, y: SIZE - 4, "text-anchor": "end" });
    label.textContent = `${names[0]} →`;
    const side = svg("text", { x: 4, y: 11 });
    side.textContent = `↑ ${names[1]}`;
    drawing.append(label, side);
    return drawing;
  }

  track(chunk, across, up) {
    if (!this.summed) return chunk.map((row) => [finite(row[across]), finite(row[up])]);
    let [x, y] = [0, 0];
    return [[0, 0], ...chunk.map((row) => [(x += finite(row[across])), (y += finite(row[up]))])];
  }
}

function finite(value) {
  return Number.isFinite(value) ? value : 0;
}
