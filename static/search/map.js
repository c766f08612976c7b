// A collection's map: a point per text, its area by how often it was said; a rectangle selects.
const canvas = document.querySelector("[data-map]");
const list = document.querySelector("[data-selected]");
const count = document.querySelector("[data-count]");
const MARGIN = 24;
const SHOWN = 200;
let points = [];
let rectangle = null;

if (canvas) start();

async function start() {
  const response = await fetch(canvas.dataset.map, { headers: { Accept: "application/json" } });
  if (!response.ok) return;
  points = (await response.json()).points;
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    rectangle = { x0: event.offsetX, y0: event.offsetY, x1: event.offsetX, y1: event.offsetY };
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    Object.assign(rectangle, { x1: event.offsetX, y1: event.offsetY });
    draw();
  });
  canvas.addEventListener("pointerup", show);
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

function isSelected(point) {
  if (!rectangle) return true;
  const [x, y] = place(point);
  const { x0, x1, y0, y1 } = rectangle;
  const reach = 6; // a click selects what lies under it
  return (
    x >= Math.min(x0, x1) - reach && x <= Math.max(x0, x1) + reach &&
    y >= Math.min(y0, y1) - reach && y <= Math.max(y0, y1) + reach
  );
}

function draw() {
  const scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const colour = getComputedStyle(canvas).color;
  context.fillStyle = colour;
  context.strokeStyle = colour;
  for (const point of points) {
    const [x, y] = place(point);
    context.globalAlpha = isSelected(point) ? 0.75 : 0.18;
    context.beginPath();
    context.arc(x, y, 3 + Math.min(9, Math.sqrt(point.times)), 0, 2 * Math.PI);
    context.fill();
  }
  if (rectangle) {
    context.globalAlpha = 1;
    const { x0, x1, y0, y1 } = rectangle;
    context.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
  }
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
