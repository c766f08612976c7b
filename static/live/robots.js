// What the page knows of each robot: its newest result and the trail of first steps behind it.
const TRAIL = 120;

export class Robots {
  #robots = new Map();

  // Returns the robot that `result` belongs to. `at` is when it arrived, in this browser's milliseconds: the server's
  // clock may differ.
  take(result, at) {
    let robot = this.#robots.get(result.robot);
    if (!robot) {
      robot = { name: result.robot, result: null, heardAt: 0, trail: [], pictures: {}, flagged: new Set() };
      this.#robots.set(result.robot, robot);
    }
    // What was told before a break may be told again after it.
    const again = robot.result?.request_id === result.request_id;
    robot.result = result;
    // Pictures come a few times a second at most: between them the last ones stand.
    Object.assign(robot.pictures, result.thumbnails);
    robot.heardAt = at;
    if (!again) robot.trail.push(result.actions[0] ?? null);
    if (robot.trail.length > TRAIL) robot.trail.shift();
    return robot;
  }

  get(name) {
    return this.#robots.get(name);
  }

  get size() {
    return this.#robots.size;
  }

  // In the order of their names, so that a robot keeps its place.
  inOrder() {
    return [...this.#robots.values()].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  }

  heardSince(at) {
    return [...this.#robots.values()].filter((robot) => robot.heardAt >= at).length;
  }
}
