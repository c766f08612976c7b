// What is known of one result, in words.
import { formatValue } from "../plots/canvas.js";
import { formatTime } from "../js/times.js";

export function showFacts(list, frame, stateNames) {
  const { timing } = frame;
  const state = frame.state.map((value, index) => `${stateNames[index] ?? index} ${formatValue(value)}`).join(", ");
  const facts = [
    ["Answered", formatTime(new Date(frame.at), "exact")],
    ["Step", frame.step ?? "–"],
    ["Policy", frame.model],
    ["Safety score", frame.safety.score.toFixed(2)],
    ["Total", `${timing.total_ms.toFixed(1)} ms (queue ${timing.queue_ms.toFixed(1)}, inference ${timing.inference_ms.toFixed(1)}, batch of ${timing.batch_size})`],
    ["State", state],
    ["Request", frame.request_id],
  ];
  list.replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
}

export function showViolations(list, violations) {
  list.replaceChildren(
    ...violations.map((violation) =>
      element(
        "li",
        `Step ${violation.step}, ${violation.dimension}: ${violation.rule} ${formatValue(violation.value)}, limit ${formatValue(violation.limit)}`,
      ),
    ),
  );
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
