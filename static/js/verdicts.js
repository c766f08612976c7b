// Safety in words and badges; the badge is as core/templatetags/badges.py renders it.
import { formatValue } from "../plots/canvas.js";
import { icon } from "./icons.js";

const LOOKS = {
  pass: ["pass", "pass", gettext("Passed")],
  clamped: ["warn", "clamped", gettext("Clamped")],
  rejected: ["fail", "rejected", gettext("Rejected")],
};

export function showVerdict(element, verdict) {
  if (element.dataset.shown === verdict) return;
  element.dataset.shown = verdict;
  const [tone, symbol, label] = LOOKS[verdict];
  const badge = document.createElement("span");
  badge.className = "badge";
  badge.dataset.tone = tone;
  badge.append(icon(symbol), label);
  element.replaceChildren(badge);
}

export function describeViolation({ step, dimension, rule, value, limit }) {
  return interpolate(gettext("Step %s, %s: %s %s (limit %s)"), [step, dimension, rule, formatValue(value), formatValue(limit)]);
}
