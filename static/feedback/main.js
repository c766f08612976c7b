// The correction page and the reviewer's: the form works without this; here it becomes quick.
import { startActiveTime } from "./active_time.js";
import { Chunk } from "./chunk.js";
import { Draft } from "./draft.js";
import { Paths } from "./paths.js";
import { Plot } from "./plot.js";
import { Scrub } from "./scrub.js";
import { startShortcuts } from "./shortcuts.js";

const form = document.querySelector("[data-editor]");
const data = JSON.parse(document.getElementById("chunk-data").textContent);
const inputs = data.original.map((row, step) => row.map((_value, dimension) => form.elements[`a-${step}-${dimension}`]));

const choiceName = form.dataset.choice ?? "verdict";

const editor = {
  dimension: 0,
  movesFollowing: false,
  isReadOnly: form.querySelector("fieldset.work").disabled,

  select(dimension, step) {
    this.dimension = (dimension + plots.length) % plots.length;
    for (const plot of plots) plot.selectStep(step);
    redraw();
  },

  focus(dimension) {
    this.select(dimension, plots[this.dimension].step);
    plots[this.dimension].element.focus({ preventScroll: false });
  },
};

data.original = asPosted(data.original);
data.compared &&= asPosted(data.compared);
data.sides = data.sides.map(({ id, chunk: side }) => ({ id, chunk: side && asPosted(side) }));
const chunk = new Chunk(readInputs(), data.compared ?? data.original, data.columns);
const plots = data.columns.map((_column, dimension) => new Plot({ chunk, dimension, data, editor }));
const paths = new Paths(document.querySelector("[data-path-card]"), { chunk, data });
const draft = form.dataset.draftUrl && !editor.isReadOnly ? new Draft(form, readForm) : null;

start();

function start() {
  document.querySelector("[data-plots]").append(...plots.map((plot) => plot.element));
  for (const element of document.querySelectorAll("[data-needs-script]:not([data-scrub], [data-path-card])")) element.hidden = false;
  document.querySelector("[data-numbers]").open = Boolean(form.querySelector("input[aria-invalid]"));
  new Scrub(document.querySelector("[data-scene]"), data.frames);

  inputs.forEach((row, step) =>
    row.forEach((input, dimension) => input.addEventListener("change", () => chunk.type(step, dimension, input.valueAsNumber))),
  );
  chunk.addEventListener("change", onChunkChange);
  form.addEventListener("change", () => draft?.changed());
  form.addEventListener("input", () => draft?.changed());
  onAction("undo", () => chunk.undo());
  onAction("redo", () => chunk.redo());
  onAction("reset", () => chunk.reset());
  onAction("following", (button) => {
    editor.movesFollowing = !editor.movesFollowing;
    button.setAttribute("aria-pressed", String(editor.movesFollowing));
  });
  startShortcuts({
    j: () => editor.focus(editor.dimension + (document.activeElement === plots[editor.dimension].element ? 1 : 0)),
    k: () => editor.focus(editor.dimension - 1),
  });
  const seconds = form.querySelector("[data-active-seconds]");
  if (seconds) startActiveTime(seconds);

  for (const { id, chunk: side } of data.sides) {
    choice(id)?.addEventListener("change", () => chunk.rebase(side ?? data.original));
  }
  const recovered = draft?.recovered();
  if (recovered) {
    restore(recovered);
    draft.changed();
  }
  redraw();
}

function onAction(name, action) {
  const button = document.querySelector(`[data-action="${name}"]`);
  button.addEventListener("click", () => action(button));
}

function onChunkChange() {
  chunk.values.forEach((row, step) =>
    row.forEach((value, dimension) => {
      const input = inputs[step][dimension];
      if (input.valueAsNumber !== value && Number.isFinite(value)) input.value = value;
    }),
  );
  chooseVerdict();
  redraw();
  draft?.changed();
}

// A changed chunk is a correction, unless the person has chosen something else; unchanged again, it is not. Where an
// answer of somebody else's was chosen, to change its chunk is to give one of one's own.
function chooseVerdict() {
  const correct = choice(form.dataset.verdictOnChange);
  const chosen = form.querySelector(`input[name="${choiceName}"]:checked`);
  if (chunk.isChanged && (!chosen || chosen.dataset.automatic || data.sides.length)) {
    correct.checked = true;
    correct.dataset.automatic = "yes";
  } else if (!chunk.isChanged && correct.dataset.automatic) {
    correct.checked = false;
    delete correct.dataset.automatic;
  }
}

function choice(value) {
  return form.querySelector(`input[name="${choiceName}"][value="${CSS.escape(value)}"]`);
}

function redraw() {
  const broken = chunk.violations();
  plots.forEach((plot, dimension) => {
    plot.draw(new Set(broken.filter((each) => each.dimension === dimension).map((each) => each.step)));
    plot.element.classList.toggle("plot-current", dimension === editor.dimension);
  });
  paths.draw();
  const warning = document.querySelector("[data-violations]");
  warning.hidden = broken.length === 0;
  warning.textContent = broken.length ? sentence(broken) : "";
  for (const [name, isPossible] of Object.entries({
    undo: chunk.done.length > 0,
    redo: chunk.undone.length > 0,
    reset: chunk.isChanged,
  })) {
    document.querySelector(`[data-action="${name}"]`).disabled = editor.isReadOnly || !isPossible;
  }
}

function sentence(broken) {
  const words = document.querySelector("[data-violations]").dataset;
  const named = broken.slice(0, 4).map(({ step, dimension }) => `${data.columns[dimension].name} ${step + 1}`);
  return `${words.words} ${named.join(", ")}${broken.length > 4 ? " …" : ""}`;
}

function readInputs() {
  return inputs.map((row) => row.map((input) => input.valueAsNumber));
}

// The table holds seven digits: compare with what it would hold, not with digits that it cannot.
function asPosted(values) {
  return values.map((row) => row.map((value) => Number(value.toPrecision(7))));
}

function readForm() {
  const fields = new FormData(form);
  return {
    actions: inputs.map((row) => row.map((input) => (input.value === "" ? "" : Number(input.value)))),
    verdict: fields.get("verdict") ?? "",
    rating: fields.get("rating") ?? "",
    confidence: fields.get("confidence") ?? "",
    comment: fields.get("comment") ?? "",
  };
}

function restore(content) {
  content.actions?.forEach((row, step) =>
    row.forEach((value, dimension) => {
      if (inputs[step]?.[dimension] && value !== inputs[step][dimension].valueAsNumber) {
        inputs[step][dimension].value = value;
        chunk.type(step, dimension, Number(value));
      }
    }),
  );
  for (const name of ["verdict", "rating", "confidence"]) {
    const choice = form.querySelector(`input[name="${name}"][value="${CSS.escape(content[name] ?? "")}"]`);
    if (choice) choice.checked = true;
  }
  if (content.comment) form.elements.comment.value = content.comment;
}
