// The hall's clock, as this browser knows it. Each message says what that clock shows; what lies
// between is told by the browser's own, which never jumps (performance.now). Nothing is counted
// down, so nothing drifts where a timer is late or a page sleeps in the background.

const KEPT = 60; // Seconds. Two clocks may run at slightly different speeds.

export class Clock {
  #local;
  #samples = [];
  #offset = null;
  #wall = null;

  constructor(local = () => performance.now() / 1000) {
    this.#local = local;
  }

  get isKnown() {
    return this.#offset !== null;
  }

  // The server said it before we received it.
  pushed(server, received = this.#local()) {
    this.#add({ at: received, least: server - received, most: Infinity });
  }

  // And after we asked.
  answered(server, sent, received = this.#local()) {
    this.#add({ at: received, least: server - received, most: server - sent });
  }

  // What the time of day was at a moment of the hall's clock.
  saw(server, wall) {
    this.#wall = wall - server;
  }

  local() {
    return this.#local();
  }

  now() {
    return this.#local() + (this.#offset ?? 0);
  }

  timeOfDay(at) {
    return this.#wall === null ? null : at + this.#wall;
  }

  #add(sample) {
    let samples = this.#samples.filter((one) => sample.at - one.at <= KEPT && one.at <= sample.at);
    samples.push(sample);
    let [least, most] = bounds(samples);
    if (least > most) {
      // One of the clocks stood still meanwhile: what was known before is of no use.
      samples = [sample];
      [least, most] = bounds(samples);
    }
    this.#samples = samples;
    this.#offset = most === Infinity ? least : (least + most) / 2;
  }
}

function bounds(samples) {
  return [
    Math.max(...samples.map((one) => one.least)),
    Math.min(...samples.map((one) => one.most)),
  ];
}
