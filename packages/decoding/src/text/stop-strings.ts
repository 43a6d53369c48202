/** What became certain after more text. */
export interface StopOutcome {
  /** Text that can be shown: it begins no stop string. */
  readonly text: string;
  /** Whether a stop string is complete; then nothing after it counts. */
  readonly stopped: boolean;
}

/** Holds back text that may begin a stop string, and cuts at the first that is complete. */
export class StopStrings {
  readonly #stops: readonly string[];
  #pending = '';
  #shown = 0;

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop.length > 0);
  }

  /** Characters shown so far. */
  get shown(): number {
    return this.#shown;
  }

  /** Takes more text. */
  push(text: string): StopOutcome {
    this.#pending += text;
    const cuts = this.#stops.map((stop) => this.#pending.indexOf(stop)).filter((at) => at >= 0);
    if (cuts.length > 0) return this.#show(Math.min(...cuts), true);
    return this.#show(this.#pending.length - this.#heldBack(), false);
  }

  /** The end of the text: what was held back is no stop string. */
  flush(): string {
    return this.#show(this.#pending.length, false).text;
  }

  #show(length: number, stopped: boolean): StopOutcome {
    const text = this.#pending.slice(0, length);
    this.#pending = stopped ? '' : this.#pending.slice(length);
    this.#shown += length;
    return { text, stopped };
  }

  /** Length of the longest end of the pending text that begins a stop string. */
  #heldBack(): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, this.#pending.length); length > longest; length--) {
        if (this.#pending.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
