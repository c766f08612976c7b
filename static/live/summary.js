// The four figures above the grid, over the last ten seconds.
const WINDOW_MS = 10_000;

export class Summary {
  #results = [];

  take(result, at) {
    this.#results.push({ at, latency: result.timing.total_ms, safe: result.safety.verdict === "pass" });
  }

  show(robots, now) {
    this.#results = this.#results.filter((result) => result.at >= now - WINDOW_MS);
    const count = this.#results.length;
    const latencies = this.#results.map((result) => result.latency).sort((a, b) => a - b);
    const unsafe = this.#results.filter((result) => !result.safe).length;
    write("summary-robots", robots.heardSince(now - WINDOW_MS));
    write("summary-rate", (count / (WINDOW_MS / 1000)).toFixed(1));
    write("summary-latency", count ? Math.round(latencies[Math.floor(count / 2)]) : "–");
    write("summary-unsafe", count ? ((100 * unsafe) / count).toFixed(unsafe ? 1 : 0) : "–");
  }
}

function write(id, value) {
  const element = document.getElementById(id);
  const text = String(value);
  if (element.textContent !== text) element.textContent = text;
}
