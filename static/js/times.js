// <time data-time> arrives in UTC and is rewritten in the reader's own time; its title keeps UTC.
const language = document.documentElement.lang || undefined;
const formats = {
  short: new Intl.DateTimeFormat(language, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  exact: new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" }),
  day: new Intl.DateTimeFormat(language, { dateStyle: "medium" }),
  hour: new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
};
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const steps = [
  [60, 1, "second"],
  [3600, 60, "minute"],
  [86400, 3600, "hour"],
  [604800, 86400, "day"],
];

export function localiseTimes(root) {
  for (const element of root.querySelectorAll("time[data-time]")) {
    const text = formatTime(new Date(element.dateTime), element.dataset.time);
    if (element.textContent !== text) element.textContent = text;
  }
}

export function formatTime(date, style) {
  return style === "relative" ? ago(date) : formats[style].format(date);
}

function ago(date) {
  const seconds = (date - Date.now()) / 1000;
  const step = steps.find(([limit]) => Math.abs(seconds) < limit);
  return step ? relative.format(Math.round(seconds / step[1]), step[2]) : formats.short.format(date);
}
