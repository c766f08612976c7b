// Small multiples of actions: one row per dimension, sharing the horizontal axis.
import { dots, formatValue, line, prepare, text } from "./canvas.js";

// The range that a row shows: the limits where both are known, what the values need otherwise.
export function rangeOf(dimension, values) {
  const known = values.filter((value) => Number.isFinite(value));
  let low = dimension.low ?? Math.min(0, ...known);
  let high = dimension.high ?? Math.max(0, ...known);
  low = Math.min(low, ...known);
  high = Math.max(high, ...known);
  if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
  return [low, high];
}

// A strip for a card: the first step of each past chunk, then the newest chunk itself.
export function drawStrip(canvas, dimensions, trail, chunk, rowHeight) {
  const area = prepare(canvas, dimensions.length * rowHeight);
  if (!area) return;
  const { context, width } = area;
  const left = Math.min(64, width * 0.22);
  const right = width - 48;
  const past = left + (right - left) * 0.72;
  dimensions.forEach((dimension, index) => {
    const top = index * rowHeight;
    const middle = top + rowHeight / 2;
    const history = trail.map((step) => step?.[index] ?? null);
    const ahead = chunk.map((step) => step[index]);
    const [low, high] = rangeOf(dimension, [...history, ...ahead]);
    const y = (value) => top + rowHeight - 3 - ((value - low) / (high - low)) * (rowHeight - 6);
    if (low < 0 && high > 0) line(context, [[left, y(0)], [right, y(0)]], "--plot-grid", { width: 1 });
    text(context, shorten(context, dimension.name, left - 6), 0, middle);
    line(context, spread(history, left, past, y), "--plot-past", { width: 1.25 });
    line(context, spread(ahead, past, right, y), "--plot-sent", { width: 1.75 });
    text(context, formatValue(ahead[0]), width, middle, { align: "right", token: "--ink" });
  });
}

// Full rows with limits and units. `lines` is a list of {token, dash, width, dots, values: [[step values]]}, the first at the
// back; all share the horizontal axis 0..length-1. `cursor` is an index on it, and `read` the line whose value there stands
// beside the row's name.
export function drawRows(canvas, dimensions, lines, { rowHeight, length, cursor = null, read = lines.length - 1 }) {
  const area = prepare(canvas, dimensions.length * rowHeight);
  if (!area) return null;
  const { context, width } = area;
  const left = Math.min(104, width * 0.26);
  const right = width - 4;
  const x = (index) => (length > 1 ? left + ((right - left) * index) / (length - 1) : (left + right) / 2);
  dimensions.forEach((dimension, index) => {
    const top = index * rowHeight;
    const series = lines.map((drawn) => drawn.values.map((step) => step?.[index] ?? null));
    const [low, high] = "from" in dimension ? [dimension.from, dimension.to] : rangeOf(dimension, series.flat());
    const y = (value) => top + rowHeight - 10 - ((value - low) / (high - low)) * (rowHeight - 20);
    if (index) line(context, [[0, top], [width, top]], "--plot-grid", { width: 1 });
    if (low < 0 && high > 0) line(context, [[left, y(0)], [right, y(0)]], "--plot-grid", { width: 1 });
    for (const limit of [dimension.low, dimension.high]) {
      if (limit !== null) line(context, [[left, y(limit)], [right, y(limit)]], "--plot-limit", { width: 1, dash: [1, 4] });
    }
    text(context, shorten(context, dimension.name, left - 12), 0, top + rowHeight / 2 - 8, { token: "--ink", size: 12 });
    const value = cursor === null ? null : lines[read].values[cursor]?.[index];
    const unit = dimension.unit && dimension.unit !== "1" ? ` ${dimension.unit}` : "";
    text(context, `${formatValue(value)}${unit}`, 0, top + rowHeight / 2 + 9, { mono: true });
    lines.forEach((drawn, which) => {
      const points = series[which].map((step, at) => (step === null ? null : [x(at), y(step)]));
      if (drawn.dots) dots(context, points, drawn.token);
      else line(context, points, drawn.token, { width: drawn.width ?? 1.5, dash: drawn.dash ?? [] });
    });
  });
  const bottom = dimensions.length * rowHeight;
  if (cursor !== null) line(context, [[x(cursor), 0], [x(cursor), bottom]], "--ink", { width: 1 });
  return { left, right };
}

function spread(values, from, to, y) {
  const step = values.length > 1 ? (to - from) / (values.length - 1) : 0;
  const start = values.length > 1 ? from : to;
  return values.map((value, index) => (value === null ? null : [start + index * step, y(value)]));
}

function shorten(context, words, width) {
  context.font = '12px "Inter", system-ui, sans-serif';
  let shown = words;
  while (shown.length > 2 && context.measureText(shown).width > width) shown = `${shown.slice(0, -2)}…`;
  return shown;
}
