// The live page: takes results off the socket and shows them at the screen's own pace.
import { post } from "../js/post.js";
import { toast } from "../js/toasts.js";
import { formatValue } from "../plots/canvas.js";
import { Card } from "./card.js";
import { Connection } from "./connection.js";
import { Focus } from "./focus.js";
import { listenForKeys } from "./keys.js";
import { Markers } from "./markers.js";
import { Robots } from "./robots.js";
import { showConnection } from "./status.js";
import { Summary } from "./summary.js";

class LivePage {
  robots = new Robots();
  summary = new Summary();
  cards = new Map();
  focus = null;
  paused = false;
  missed = 0;
  #changed = new Set();
  #frame = null;

  constructor(data) {
    this.data = data;
    this.fleet = document.getElementById("fleet");
    this.markers = new Markers(data.collection, (name, result) => this.linkTo(name, result));
    this.connection = new Connection(data.socket);
  }

  start() {
    const now = performance.now();
    for (const result of this.data.results) {
      this.#changed.add(this.robots.take(result, now - (Date.now() - Date.parse(result.created_at))));
    }
    this.#show();
    this.#followAddress();
    this.connection.addEventListener("result", (event) => this.#take(event.detail));
    this.connection.addEventListener("lagging", (event) => this.#missed(event.detail.dropped));
    this.connection.addEventListener("feedback", (event) => this.#feedback(event.detail));
    this.connection.addEventListener("state", (event) => showConnection(event.detail, this));
    this.connection.open();
    document.getElementById("pause").addEventListener("click", () => this.togglePause());
    addEventListener("hashchange", () => this.#followAddress());
    document.addEventListener("themechange", () => this.#redraw());
    new ResizeObserver(() => this.#redraw()).observe(document.body);
    setInterval(() => this.#tick(), 1000);
    listenForKeys(this);
  }

  #take(result) {
    const now = performance.now();
    this.summary.take(result, now);
    if (this.paused) {
      this.missed += 1;
      return;
    }
    this.#changed.add(this.robots.take(result, now));
    this.#frame ??= requestAnimationFrame(() => this.#show());
  }

  #show() {
    this.#frame = null;
    const known = this.cards.size;
    for (const robot of this.#changed) {
      if (!this.cards.has(robot.name)) this.cards.set(robot.name, new Card(robot, this));
    }
    if (this.cards.size !== known) {
      this.fleet.replaceChildren(...this.robots.inOrder().map((robot) => this.cards.get(robot.name).element));
    }
    for (const robot of this.#changed) {
      if (this.focus?.robot === robot) this.focus.show();
      else if (!this.focus) this.cards.get(robot.name).show();
    }
    this.#changed.clear();
    document.getElementById("nobody").hidden = this.robots.size > 0;
  }

  #redraw() {
    if (this.focus) this.focus.draw();
    else for (const card of this.cards.values()) card.draw();
  }

  #tick() {
    const now = performance.now();
    this.summary.show(this.robots, now);
    for (const card of this.cards.values()) card.tick(now);
    if (this.paused) showConnection({ state: "paused" }, this);
  }

  #missed(count) {
    toast(interpolate(gettext("This browser is slower than the robots: %s results were skipped."), [count]), { symbol: "clock" });
  }

  #feedback(message) {
    const words = [message.annotator || gettext("Somebody"), message.feedback_type];
    toast(interpolate(gettext("%s gave feedback: %s."), words), { symbol: "feedback" });
  }

  togglePause() {
    this.paused = !this.paused;
    this.missed = 0;
    const button = document.getElementById("pause");
    button.setAttribute("aria-pressed", String(this.paused));
    button.querySelector("span").textContent = this.paused ? gettext("Go on") : gettext("Pause");
    button.querySelector("use").setAttribute("href", `${document.documentElement.dataset.icons}#${this.paused ? "play" : "pause"}`);
    showConnection({ state: this.paused ? "paused" : "open" }, this);
  }

  // The robot shown in full is named in the address, so that the view can be sent to a colleague.
  open(robot) {
    location.hash = `robot=${encodeURIComponent(robot.name)}`;
  }

  close() {
    history.pushState(null, "", location.pathname + location.search);
    this.#followAddress();
  }

  #followAddress() {
    const name = new URLSearchParams(location.hash.slice(1)).get("robot");
    const robot = name ? this.robots.get(name) : null;
    const before = this.focus?.robot;
    this.focus?.remove();
    this.focus = null;
    this.fleet.hidden = Boolean(robot);
    if (robot) {
      this.focus = new Focus(robot, this);
      this.focus.show();
    } else {
      for (const card of this.cards.values()) card.show();
      this.cards.get(before?.name)?.element.querySelector("[data-open]").focus();
    }
  }

  mark(robot) {
    this.markers.add(robot.result);
    if (!this.focus) this.cards.get(robot.name).show();
    toast(interpolate(gettext("Marked %s."), [robot.name]), { symbol: "bookmark", seconds: 2 });
  }

  isMarked(requestId) {
    return this.markers.has(requestId);
  }

  async flag(robot) {
    if (!this.data.flag_url) return;
    const { result } = robot;
    try {
      await post(this.linkTo("flag_url", result));
      robot.flagged.add(result.request_id);
      toast(interpolate(gettext("%s is in the review queue."), [robot.name]), { tone: "pass", symbol: "flag" });
      if (!this.focus) this.cards.get(robot.name).show();
    } catch (error) {
      toast(interpolate(gettext("Could not flag it: %s"), [error.message]), { tone: "fail", symbol: "error" });
    }
  }

  linkTo(name, result) {
    return this.data[name].replace(this.data.any_request, result.request_id);
  }

  // What a plot says to those who do not see it.
  label(robot) {
    const first = robot.result.actions[0];
    const values = this.data.dimensions.map((dimension, index) => `${dimension.name} ${formatValue(first?.[index])}`);
    const words = first ? values.join(", ") : gettext("nothing was sent");
    return interpolate(gettext("Actions of %s: %s"), [robot.name, words]);
  }
}

const page = new LivePage(JSON.parse(document.getElementById("live-data").textContent));
page.start();
