// A collection's map: a point per text, its area by how often it was said; a rectangle selects, the pointer asks.
import { colour, text } from "../plots/canvas.js";

const canvas = document.querySelector("[data-map]");
const list = document.querySelector("[data-selected]");
const count = document.querySelector("[data-count]");
const MARGIN = 24;
const SHOWN = 200;
const NAME_SIZE = 12;
const LABEL_SIZE = 13;
const REACH = 6; // a click selects what lies under it
let points = [];
let rectangle = null;
let pointed = null;

if (canvas) start();

async function start() {
  const response = await fetch(canvas.dataset.map, { headers: { Accept: "application/json" } });
  if (!response.ok) return;
  points = (await response.json()).points;
  new ResizeObserver(draw).observe(canvas);
  document.addEventListener("themechange", draw);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    rectangle = { x0: event.offsetX, y0: event.offsetY, x1: event.offsetX, y1: event.offsetY };
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return point(event);
    Object.assign(rectangle, { x1: event.offsetX, y1: event.offsetY });
    draw();
  });
  canvas.addEventListener("pointerup", show);
  canvas.addEventListener("pointerleave", () => {
    pointed = null;
    draw();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    rectangle = null;
    draw();
    show();
  });
  show();
}

function place(point) {
  const { clientWidth: width, clientHeight: height } = canvas;
  return [
    MARGIN + ((point.x + 1) / 2) * (width - 2 * MARGIN),
    MARGIN + ((1 - point.y) / 2) * (height - 2 * MARGIN),
  ];
}

function point({ offsetX, offsetY }) {
  const far = (candidate) => {
    const [x, y] = place(candidate);
    return Math.hypot(x - offsetX, y - offsetY);
  };
  const nearest = points.reduce((best, candidate) => (best && far(best) <= far(candidate) ? best : candidate), null);
  const found = nearest && far(nearest) <= radius(nearest) + REACH ? nearest : null;
  if (found === pointed) return;
  pointed = found;
  draw();
}

function radius({ times }) {
  return 3 + Math.min(9, Math.sqrt(times));
}

function isSelected(point) {
  if (!rectangle) return true;
  const [x, y] = place(point);
  const { x0, x1, y0, y1 } = rectangle;
  return (
    x >= Math.min(x0, x1) - REACH && x <= Math.max(x0, x1) + REACH &&
    y >= Math.min(y0, y1) - REACH && y <= Math.max(y0, y1) + REACH
  );
}

function draw() {
  const scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.fillStyle = context.strokeStyle = colour("--accent");
  for (const point of points) {
    const [x, y] = place(point);
    context.globalAlpha = isSelected(point) ? 0.75 : 0.18;
    context.beginPath();
    context.arc(x, y, radius(point), 0, 2 * Math.PI);
    context.fill();
  }
  if (rectangle) {
    context.globalAlpha = 1;
    const { x0, x1, y0, y1 } = rectangle;
    context.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
  }
  name(context);
  if (pointed) label(context, pointed);
}

// The most frequent texts by name, as many as find room beside their points.
function name(context) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const taken = points.map((point) => {
    const [x, y] = place(point);
    return [x - radius(point), y - radius(point), x + radius(point), y + radius(point)];
  });
  context.globalAlpha = 1;
  context.textBaseline = "middle";
  text(context, "", 0, 0, { size: NAME_SIZE }); // sets the font that the names are measured in
  let named = 0;
  for (const point of points.filter(isSelected).sort((a, b) => b.times - a.times)) {
    if (named === Math.floor(width / 50)) break;
    const words = point.text.length > 32 ? `${point.text.slice(0, 31)}…` : point.text;
    const long = context.measureText(words).width;
    const [x, y] = place(point);
    const gap = radius(point) + 5;
    for (const left of [x + gap, x - gap - long]) {
      const box = [left - 2, y - 8, left + long + 2, y + 8];
      const fits = box[0] > 0 && box[2] < width && box[1] > 0 && box[3] < height;
      if (!fits || taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
      taken.push(box);
      text(context, words, left, y, { size: NAME_SIZE });
      named += 1;
      break;
    }
  }
}

// What the text under the pointer is, beside it and inside the canvas.
function label(context, point) {
  const [x, y] = place(point);
  const words = `${point.text.slice(0, 80)} × ${point.times}`;
  context.globalAlpha = 1;
  context.strokeStyle = colour("--accent");
  context.beginPath();
  context.arc(x, y, radius(point) + 3, 0, 2 * Math.PI);
  context.stroke();
  text(context, "", 0, 0, { size: LABEL_SIZE });
  const width = context.measureText(words).width + 16;
  const left = Math.max(4, Math.min(x + 14, canvas.clientWidth - width - 4));
  const top = Math.max(4, y - 38);
  context.fillStyle = colour("--ink");
  context.beginPath();
  context.roundRect(left, top, width, 26, 6);
  context.fill();
  text(context, words, left + 8, top + 14, { token: "--surface", size: LABEL_SIZE });
}

function show() {
  const chosen = points.filter(isSelected);
  count.textContent = chosen.length;
  list.replaceChildren(
    ...chosen.slice(0, SHOWN).map((point) => {
      const link = document.createElement("a");
      link.href = list.dataset.similar + point.request_id;
      link.textContent = point.text;
      const item = document.createElement("li");
      item.append(link, ` × ${point.times}`);
      return item;
    }),
  );
}
