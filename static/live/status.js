// Says whether what is on the screen is now.
const REFUSED = {
  "signed-out": "Your session has ended. Log in again to go on watching.",
  forbidden: "You may no longer watch this collection.",
  gone: "This collection is no longer there.",
};

export function showConnection({ state, reason, retryAt }, page) {
  const banner = document.getElementById("banner");
  if (page.paused && state === "open") state = "paused";
  document.getElementById("connection").dataset.state = state === "refused" ? "lost" : state;
  write("#connection span", { open: "Live", lost: "Reconnecting", refused: "Stopped", paused: pausedText(page.missed) }[state]);
  banner.hidden = state === "open" || state === "paused";
  if (state === "refused") write("#banner p", REFUSED[reason]);
  if (state === "lost") {
    const seconds = Math.max(1, Math.round((retryAt - Date.now()) / 1000));
    write("#banner p", `The connection is lost. What you see is old. Trying again in ${seconds} s.`);
  }
}

function pausedText(missed) {
  return missed ? `Paused, ${missed} new` : "Paused";
}

function write(selector, text) {
  const element = document.querySelector(selector);
  if (element.textContent !== text) element.textContent = text;
}
