const SVG = "http://www.w3.org/2000/svg";

// One symbol of static/icons.svg, as core/templatetags/icons.py renders it.
export function icon(name, cssClass = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon ${cssClass}`.trim());
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${document.documentElement.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}
