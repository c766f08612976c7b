// Draws each figure.chart from its own table: the table is the data, the picture an addition.
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const BOTTOM = 20;
const LEFT = 40;

class Chart {
  constructor(figure) {
    this.kind = figure.dataset.chart;
    this.unit = figure.dataset.unit ? ` ${figure.dataset.unit}` : "";
    const heads = [...figure.querySelectorAll("thead [data-series]")];
    this.series = heads.map((head) => ({ name: head.dataset.series, label: head.textContent }));
    this.rows = [...figure.querySelectorAll("tbody tr")].map((row) => ({
      label: row.querySelector("th"),
      values: [...row.querySelectorAll("td")].map((cell) => numberOf(cell.textContent)),
    }));
    this.plot = document.createElement("div");
    this.plot.className = "chart-plot";
    this.plot.setAttribute("aria-hidden", "true");
    this.tip = document.createElement("div");
    this.tip.className = "chart-tip";
    this.tip.hidden = true;
    figure.prepend(this.plot);
    this.plot.addEventListener("pointerleave", () => (this.tip.hidden = true));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  draw() {
    const width = this.plot.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    const svg = make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT });
    const scale = niceScale(this.#highest());
    const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - 8) * value) / scale.top;
    for (const tick of scale.ticks) {
      svg.append(make("line", { class: "chart-grid", x1: LEFT, x2: width, y1: y(tick), y2: y(tick) }));
      const label = make("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" });
      label.textContent = compact(tick);
      svg.append(label);
    }
    const step = (width - LEFT) / Math.max(1, this.rows.length);
    const every = Math.ceil(48 / step);
    if (this.kind === "lines") this.series.forEach((series, index) => svg.append(this.#line(series, index, step, y)));
    this.rows.forEach((row, at) => svg.append(this.#column(row, at, step, y)));
    this.rows.forEach((row, at) => {
      if (at % every) return;
      const label = make("text", { x: LEFT + step * (at + 0.5), y: HEIGHT - 4, "text-anchor": "middle" });
      label.textContent = row.label.textContent;
      svg.append(label);
    });
    this.plot.replaceChildren(svg, this.tip);
  }

  #highest() {
    const heights = this.rows.map(({ values }) =>
      this.kind === "stacked" ? values.reduce((sum, value) => sum + (value ?? 0), 0) : Math.max(...values.map((v) => v ?? 0)),
    );
    return Math.max(...heights, 0);
  }

  #line(series, index, step, y) {
    const group = make("g", { "data-series": series.name });
    const known = (at) => (this.rows[at]?.values[index] ?? null) !== null;
    let path = "";
    this.rows.forEach(({ values }, at) => {
      if (!known(at)) return;
      const [cx, cy] = [LEFT + step * (at + 0.5), y(values[index])];
      path += `${known(at - 1) ? "L" : "M"}${cx} ${cy}`;
      // What stands alone between two gaps has no line to be seen by.
      if (!known(at - 1) && !known(at + 1)) group.append(make("circle", { cx, cy, r: 3 }));
    });
    group.append(make("path", { d: path }));
    return group;
  }

  #column(row, at, step, y) {
    const group = make("g", { class: "chart-column" });
    const left = LEFT + step * at;
    const bar = Math.max(1, Math.min(28, step * 0.68));
    if (this.kind === "stacked") {
      let below = 0;
      this.series.forEach((series, index) => {
        const value = row.values[index] ?? 0;
        if (!value) return;
        const top = y(below + value);
        const height = Math.max(1, y(below) - top);
        group.append(make("rect", { "data-series": series.name, x: left + (step - bar) / 2, y: top, width: bar, height, rx: 1.5 }));
        below += value;
      });
    }
    const hover = make("rect", { class: "chart-hover", x: left, y: 0, width: step, height: HEIGHT - BOTTOM });
    hover.addEventListener("pointerenter", () => this.#showTip(row, left + step / 2));
    group.append(hover);
    return group;
  }

  #showTip(row, x) {
    const list = document.createElement("dl");
    this.series.forEach((series, index) => {
      const value = row.values[index];
      list.append(element("dt", series.label), element("dd", value === null ? "–" : `${value.toLocaleString()}${this.unit}`));
    });
    const title = element("strong", row.label.textContent);
    this.tip.replaceChildren(title, list);
    this.tip.hidden = false;
    const right = x > this.width / 2;
    this.tip.style.left = right ? "auto" : `${x + 12}px`;
    this.tip.style.right = right ? `${this.width - x + 12}px` : "auto";
  }
}

// Round ticks that reach just over the highest value.
function niceScale(highest) {
  const rough = Math.max(highest, 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough));
  const count = Math.ceil(Math.max(highest, 1) / step);
  return { top: count * step, ticks: Array.from({ length: count + 1 }, (_, index) => index * step) };
}

function numberOf(text) {
  const value = Number(text.replaceAll(",", "").trim());
  return Number.isNaN(value) ? null : value;
}

function compact(value) {
  return new Intl.NumberFormat(document.documentElement.lang, { notation: "compact" }).format(value);
}

function make(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

for (const figure of document.querySelectorAll("figure.chart")) new Chart(figure);
