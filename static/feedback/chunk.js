// A chunk being corrected: values[step][dimension] in physical units, with undo and redo. Knows nothing of the page.
// `original` is what it is compared with and goes back to: the robot's chunk, or for a reviewer the annotator's.
export class Chunk extends EventTarget {
  constructor(values, original, columns) {
    super();
    this.values = values.map((row) => [...row]);
    this.original = original;
    this.columns = columns;
    this.done = [];
    this.undone = [];
    this.stroke = null;
  }

  get steps() {
    return this.values.length;
  }

  // Set one number; with `following`, move all later steps by the same amount. Values stay inside their limits.
  set(step, dimension, value, { following = false } = {}) {
    const before = this.stroke ?? this.snapshot();
    const difference = this.limited(dimension, value) - this.values[step][dimension];
    const last = following ? this.steps - 1 : step;
    for (let index = step; index <= last; index += 1) {
      this.values[index][dimension] = this.limited(dimension, this.values[index][dimension] + difference);
    }
    if (!this.stroke) this.remember(before);
    this.announce(dimension);
  }

  // A number as it was typed: not moved to its limits, so that the person sees what is wrong with it.
  type(step, dimension, value) {
    const before = this.snapshot();
    this.values[step][dimension] = value;
    this.remember(before);
    this.announce(dimension);
  }

  // Everything between these two is one step of undo: a drag.
  beginStroke() {
    this.stroke = this.snapshot();
  }

  endStroke() {
    const before = this.stroke;
    this.stroke = null;
    if (before) this.remember(before);
    this.announce(null);
  }

  undo() {
    this.travel(this.done, this.undone);
  }

  redo() {
    this.travel(this.undone, this.done);
  }

  reset() {
    const before = this.snapshot();
    this.values = this.original.map((row) => [...row]);
    this.remember(before);
    this.announce(null);
  }

  // Begin again from another chunk: there is nothing to undo.
  rebase(values) {
    this.original = values;
    this.values = values.map((row) => [...row]);
    this.done = [];
    this.undone = [];
    this.announce(null);
  }

  get isChanged() {
    return !same(this.values, this.original);
  }

  // The limits that the chunk breaks: [{ step, dimension, rule }]. The server checks the same again.
  violations() {
    const found = [];
    this.columns.forEach(({ low, high, change }, dimension) => {
      this.values.forEach((row, step) => {
        const value = row[dimension];
        const slack = 3e-7 * Math.max(Math.abs(value), 1e-3);
        if (!Number.isFinite(value)) found.push({ step, dimension, rule: "number" });
        else if ((low !== null && value < low - slack) || (high !== null && value > high + slack)) {
          found.push({ step, dimension, rule: "position" });
        } else if (step && change !== null && Math.abs(value - this.values[step - 1][dimension]) > change + 2 * slack) {
          found.push({ step, dimension, rule: "change" });
        }
      });
    });
    return found;
  }

  limited(dimension, value) {
    const { low, high } = this.columns[dimension];
    return Math.min(high ?? Infinity, Math.max(low ?? -Infinity, value));
  }

  snapshot() {
    return this.values.map((row) => [...row]);
  }

  remember(before) {
    if (same(before, this.values)) return;
    this.done.push(before);
    this.undone = [];
  }

  travel(from, to) {
    const values = from.pop();
    if (!values) return;
    to.push(this.snapshot());
    this.values = values;
    this.announce(null);
  }

  announce(dimension) {
    this.dispatchEvent(new CustomEvent("change", { detail: { dimension } }));
  }
}

function same(first, second) {
  return first.every((row, step) => row.every((value, dimension) => Object.is(value, second[step][dimension])));
}
