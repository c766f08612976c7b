// Says whether what is on the screen is now.
const REFUSED = {
  "signed-out": gettext("Your session has ended. Log in again to go on watching."),
  forbidden: gettext("You may no longer watch this collection."),
  gone: gettext("This collection is no longer there."),
};

export function showConnection({ state, reason, retryAt }, page) {
  const banner = document.getElementById("banner");
  if (page.paused && state === "open") state = "paused";
  document.getElementById("connection").dataset.state = state === "refused" ? "lost" : state;
  write("#connection span", { open: gettext("Live"), lost: gettext("Reconnecting"), refused: gettext("Stopped"), paused: pausedText(page.missed) }[state]);
  banner.hidden = state === "open" || state === "paused";
  if (state === "refused") write("#banner p", REFUSED[reason]);
  if (state === "lost") {
    const seconds = Math.max(1, Math.round((retryAt - Date.now()) / 1000));
    write("#banner p", interpolate(gettext("The connection is lost. What you see is old. Trying again in %s s."), [seconds]));
  }
}

function pausedText(missed) {
  return missed ? interpolate(gettext("Paused, %s new"), [missed]) : gettext("Paused");
}

function write(selector, text) {
  const element = document.querySelector(selector);
  if (element.textContent !== text) element.textContent = text;
}
