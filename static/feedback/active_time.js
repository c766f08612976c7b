// How long the page was looked at and worked on: pauses of more than a minute and hidden tabs do not count.
const PAUSE_MS = 60_000;

export function startActiveTime(input) {
  let active = 0;
  let last = performance.now();
  const count = () => {
    const now = performance.now();
    if (now - last < PAUSE_MS) active += now - last;
    last = now;
    input.value = (active / 1000).toFixed(1);
  };
  for (const name of ["pointermove", "pointerdown", "keydown", "wheel"]) addEventListener(name, count, { passive: true });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) count();
    else last = performance.now();
  });
  input.form.addEventListener("submit", count);
}
