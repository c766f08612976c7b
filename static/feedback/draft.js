// What was entered is saved on the server a moment after each change, and in this browser in case the session has ended.
// Whoever signs in again in another tab comes back to a page that works: it takes the new session's token and saves.
const DELAY_MS = 700;

export class Draft {
  constructor(form, read) {
    this.form = form;
    this.read = read;
    this.key = form.dataset.draftKey;
    this.status = document.querySelector("[data-draft-status]");
    this.signedOut = document.querySelector("[data-signed-out]");
    addEventListener("pagehide", () => this.timer && this.save({ keepalive: true }));
    addEventListener("focus", () => this.signedOut.hidden || this.save());
    form.addEventListener("submit", () => {
      this.token();
      clearTimeout(this.timer);
      this.timer = null;
      this.submitted = true;
      localStorage.removeItem(this.key);
    });
  }

  // What this browser kept and the server did not get, or null.
  recovered() {
    const kept = JSON.parse(localStorage.getItem(this.key) ?? "null");
    if (!kept) return null;
    const saved = this.form.dataset.savedAt ? Date.parse(this.form.dataset.savedAt) : 0;
    return kept.at > saved ? kept.content : null;
  }

  changed() {
    if (this.submitted) return;
    localStorage.setItem(this.key, JSON.stringify({ at: Date.now(), content: this.read() }));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), DELAY_MS);
  }

  async save({ keepalive = false } = {}) {
    clearTimeout(this.timer);
    this.timer = null;
    try {
      const response = await fetch(this.form.dataset.draftUrl, {
        method: "POST",
        keepalive,
        headers: {
          "Content-Type": "application/json",
          "X-CSRFToken": this.token(),
        },
        body: JSON.stringify(this.read()),
      });
      const isSignedOut = response.status === 401 || response.status === 403;
      this.signedOut.hidden = !isSignedOut;
      if (!response.ok) throw new Error(`${response.status}`);
      const { saved_at: savedAt } = await response.json();
      if (this.timer === null) localStorage.removeItem(this.key);
      this.say("saved", new Date(savedAt));
    } catch {
      this.say("kept", new Date());
    }
  }

  // The token of the session that there is now, in the form too.
  token() {
    const field = this.form.elements.csrfmiddlewaretoken;
    const cookie = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie);
    if (cookie) field.value = cookie[1];
    return field.value;
  }

  say(state, at) {
    const time = at.toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    this.status.dataset.state = state;
    this.status.textContent = this.status.dataset[state].replace("%s", time);
  }
}
