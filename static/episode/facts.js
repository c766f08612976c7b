// What is known of one result, in words.
import { formatValue } from "../plots/canvas.js";
import { formatTime } from "../js/times.js";
import { describeViolation } from "../js/verdicts.js";

export function showFacts(list, frame, stateNames) {
  const { total_ms, queue_ms, inference_ms, batch_size } = frame.timing;
  const times = [total_ms, queue_ms, inference_ms].map((value) => value.toFixed(1)).concat(batch_size);
  const state = frame.state.map((value, index) => `${stateNames[index] ?? index} ${formatValue(value)}`).join(", ");
  const facts = [
    [gettext("Answered"), formatTime(new Date(frame.at), "exact")],
    [gettext("Step"), frame.step ?? "–"],
    [gettext("Policy"), frame.model],
    [gettext("Safety score"), frame.safety.score.toFixed(2)],
    [gettext("Total"), interpolate(gettext("%s ms (queue %s, inference %s, batch of %s)"), times)],
    [gettext("State"), state],
    [gettext("Request"), frame.request_id],
  ];
  list.replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
}

export function showViolations(list, violations) {
  list.replaceChildren(
    ...violations.map((violation) => element("li", describeViolation(violation))),
  );
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
