// The socket of /ws/inference: reconnects with growing, jittered pauses, goes on after the last result that it had, and
// pays the server's credits.
//
// The server sends at most so many results ahead of what this page says it has handled; `{"type": "ack", "n"}` says how many
// more were. A page that stops acknowledging is sent only the newest afterwards and told how many it missed.
const ACK_EVERY = 8;
const ACK_WITHIN_MS = 250;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const COSTS_CREDIT = new Set(["result", "feedback"]);
const NO_USE_IN_RETRYING = { 4401: "signed-out", 4403: "forbidden", 4404: "gone" };

export class Connection extends EventTarget {
  #url;
  #socket = null;
  #attempts = 0;
  #handled = 0;
  #ackTimer = null;
  #retryTimer = null;
  #lastSeen = "";

  constructor(path) {
    super();
    const url = new URL(path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.#url = url;
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.#retryNow());
  }

  open() {
    // After a break it goes on where it was: the server tells what came meanwhile, or how much that was.
    if (this.#lastSeen) this.#url.searchParams.set("resume", this.#lastSeen);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#attempts = 0;
      this.#say("state", { state: "open" });
    });
    socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.#closed(event.code));
  }

  #receive(message) {
    if (message.type === "result") this.#lastSeen = message.request_id;
    this.#say(message.type, message);
    if (!COSTS_CREDIT.has(message.type)) return;
    this.#handled += 1;
    if (this.#handled >= ACK_EVERY) this.#acknowledge();
    else this.#ackTimer ??= setTimeout(() => this.#acknowledge(), ACK_WITHIN_MS);
  }

  #acknowledge() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    if (this.#socket.readyState === WebSocket.OPEN && this.#handled) {
      this.#socket.send(JSON.stringify({ type: "ack", n: this.#handled }));
    }
    this.#handled = 0;
  }

  #closed(code) {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    this.#handled = 0;
    const reason = NO_USE_IN_RETRYING[code];
    if (reason) {
      this.#say("state", { state: "refused", reason });
      return;
    }
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#attempts) * (0.75 + Math.random() / 2);
    this.#attempts += 1;
    this.#say("state", { state: "lost", retryAt: Date.now() + pause });
    this.#retryTimer = setTimeout(() => this.#retry(), pause);
  }

  #retryNow() {
    if (this.#retryTimer) this.#retry();
  }

  #retry() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    this.open();
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
