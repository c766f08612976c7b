// A canvas sized in CSS pixels and sharp on every screen; its colours are the stylesheet's.
const probe = document.createElement("i");
probe.hidden = true;
let colours = new Map();
document.addEventListener("themechange", () => (colours = new Map()));

export function colour(token) {
  let value = colours.get(token);
  if (!value) {
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = `var(${token})`;
    value = getComputedStyle(probe).color;
    colours.set(token, value);
  }
  return value;
}

// Returns the drawing context, cleared, with the width that is free for drawing; null where the canvas is not shown.
export function prepare(canvas, height) {
  const style = getComputedStyle(canvas);
  const across = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
  const down = parseFloat(style.paddingTop) + parseFloat(style.paddingBottom);
  const width = canvas.clientWidth - across;
  if (width <= 0) return null;
  const scale = devicePixelRatio || 1;
  const pixels = { width: Math.round(width * scale), height: Math.round(height * scale) };
  if (canvas.width !== pixels.width || canvas.height !== pixels.height) {
    canvas.width = pixels.width;
    canvas.height = pixels.height;
    canvas.style.height = `${height + down}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.lineJoin = context.lineCap = "round";
  context.textBaseline = "middle";
  return { context, width, height };
}

export function text(context, words, x, y, { token = "--ink-muted", size = 11, align = "left", mono = false } = {}) {
  context.fillStyle = colour(token);
  context.font = `${size}px ${mono ? '"JetBrains Mono", monospace' : '"Inter", system-ui, sans-serif'}`;
  context.textAlign = align;
  context.fillText(words, x, y);
}

// A line through points [x, y]; null breaks it.
export function line(context, points, token, { width = 1.5, dash = [] } = {}) {
  context.strokeStyle = colour(token);
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  let drawing = false;
  for (const point of points) {
    if (!point) drawing = false;
    else if (drawing) context.lineTo(...point);
    else {
      context.moveTo(...point);
      drawing = true;
    }
  }
  context.stroke();
  context.setLineDash([]);
}

export function dots(context, points, token, radius = 3) {
  context.fillStyle = colour(token);
  for (const point of points) {
    if (!point) continue;
    context.beginPath();
    context.arc(...point, radius, 0, 2 * Math.PI);
    context.fill();
  }
}

export function formatValue(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
  // A rounded nothing has no sign.
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}
