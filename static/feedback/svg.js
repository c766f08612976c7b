const SVG = "http://www.w3.org/2000/svg";

// An SVG element with attributes and children.
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function points(pairs) {
  return pairs.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
}

// A number for people: as many digits as a range of that size needs.
export function format(value, range) {
  if (!Number.isFinite(value)) return "?";
  const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(range || 1))));
  return value.toFixed(digits).replace("-0.", "−0.").replace(/^-/, "−");
}
