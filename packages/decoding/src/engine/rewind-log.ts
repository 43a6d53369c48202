import type { Past, Rewindable } from '@forerun/contracts';
import { markSlots, reachableByAll } from '@forerun/contracts';

/** What a conversation has been through, so that its states can say how far back they can go. */
export class RewindLog implements Past {
  #restored = 0;
  #written = 0;
  #marks: number[] = [];

  get restored(): number {
    return this.#restored;
  }

  get written(): number {
    return this.#written;
  }

  get marks(): readonly number[] {
    return this.#marks;
  }

  /** A pass was submitted that may write positions up to `end`, which is not included. */
  wrote(end: number): void {
    this.#written = Math.max(this.#written, end);
  }

  /** A mark was submitted at `length` tokens, the most that are kept. */
  marked(length: number): void {
    if (length === 0 || this.#marks.includes(length)) return;
    this.#marks = [...this.#marks, length].slice(-markSlots);
  }

  /** The longest length <= `length` that all of `states` can be brought back to. */
  reachable(states: readonly Rewindable[], length: number): number {
    return reachableByAll(states, length, this);
  }

  /** All of `states` are brought back to `length`, which {@link reachable} gave. */
  rewound(states: readonly Rewindable[], length: number): void {
    const unmarked: Past = { restored: this.#restored, written: this.#written, marks: [] };
    if (states.some((state) => state.reachable(length, unmarked) < length)) {
      this.#restored = length;
      this.#written = length;
    }
    if (length === 0) [this.#restored, this.#written] = [0, 0];
    this.#marks = this.#marks.filter((mark) => mark <= length);
  }
}
