// The verdict badge, as core/templatetags/badges.py renders it.
import { icon } from "./icons.js";

const LOOKS = {
  pass: ["pass", "pass", "Passed"],
  clamped: ["warn", "clamped", "Clamped"],
  rejected: ["fail", "rejected", "Rejected"],
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
