/**
 * The choice table: which of several kernels that give the same bits an operation takes on this device. Candidates are timed once, when
 * a program first needs the answer, and an answer never changes, so neither do the programs of a load. Without a timer, and so on
 * software adapters, every answer is the first candidate.
 */
import { ForerunError } from '../errors.ts';
import type { AnyKernel } from '../kernel/define-kernel.ts';
import type { Grid } from '../kernel/grid.ts';

/** A buffer of a dispatch that is only timed. */
export interface TimedBuffer {
  readonly bytes: number;
  /** Every u32 of it; 0 without. */
  readonly fill?: number;
  /** Read once in a program's run, as weights are: repeats read other memory, so that no cache holds it. */
  readonly streamed?: boolean;
}

/** A dispatch that is only timed. */
export interface TimedDispatch {
  readonly kernel: AnyKernel;
  readonly constants: object;
  readonly uniforms: Readonly<Record<string, number>>;
  readonly buffers: Readonly<Record<string, TimedBuffer>>;
  /** In all, spread over a grid, or the grid. */
  readonly workgroups: number | Grid;
}

/** What an operation asks: one of its candidates. They have the same bits, or the key is one for all that must have equal bits. */
export interface ChoiceQuestion<Candidate> {
  /** Operation, format and shape; equal keys have equal candidates. */
  readonly key: string;
  /** The default first. */
  readonly candidates: readonly Candidate[];
  /** Part by which another candidate must beat the default; larger where the candidates' bits differ. Default 0.03, which is noise. */
  readonly margin?: number;
  /** A name that is unique among the candidates. */
  readonly name: (candidate: Candidate) => string;
  /** What computing with a candidate dispatches. */
  readonly work: (candidate: Candidate) => readonly TimedDispatch[];
}

/** Nanoseconds of each candidate's work, in order; not finite where it could not be timed. */
export type ChoiceTimer = (works: readonly (readonly TimedDispatch[])[]) => Promise<readonly number[]>;

/** Keeps measured choices from one load to the next; what it cannot keep is measured again. */
export interface ChoiceStore {
  /** What was stored under a key; undefined where there is nothing. */
  readonly read: (key: string) => Promise<string | undefined>;
  /** Keeps a text under a key. */
  readonly write: (key: string, text: string) => Promise<void>;
}

/** One answer, with what it follows from. */
export interface MeasuredChoice {
  /** Name of the candidate. */
  readonly chosen: string;
  /** By candidate, the default first. */
  readonly nanoseconds: Readonly<Record<string, number>>;
}

/** Changes with the kernels: answers of another version are forgotten. */
const tableVersion = 5;

const defaultMargin = 0.03;

/** Answers by question; see the top of this file. */
export class ChoiceTable {
  readonly #answers = new Map<string, MeasuredChoice>();
  readonly #pending = new Map<string, ChoiceQuestion<unknown>>();
  readonly #identity: string;
  readonly #timer: ChoiceTimer | undefined;
  readonly #keep: ((stored: string) => Promise<void>) | undefined;
  /** Measurements follow each other, and whoever asks meanwhile waits for those under way. */
  #measuring: Promise<boolean> | undefined;

  /**
   * @param options.identity - Device and driver; stored answers of others are not taken.
   * @param options.timer - Times candidates; without, the default is always taken.
   * @param options.keep - Called with {@link ChoiceTable.stored} whenever something was measured.
   */
  constructor(options: {
    readonly identity: string;
    readonly timer?: ChoiceTimer | undefined;
    readonly keep?: ((stored: string) => Promise<void>) | undefined;
  }) {
    this.#identity = options.identity;
    this.#timer = options.timer;
    this.#keep = options.keep;
  }

  /** The candidate to take; the default while nothing else is known, in which case {@link ChoiceTable.measure} finds out. */
  pick<Candidate>(question: ChoiceQuestion<Candidate>): Candidate {
    const { key, candidates, name } = question;
    const answer = this.#answers.get(key);
    const found = answer && candidates.find((candidate) => name(candidate) === answer.chosen);
    if (found) return found;
    if (this.#timer && candidates.length > 1) this.#pending.set(key, question as ChoiceQuestion<unknown>);
    return candidates[0]!;
  }

  /** Whether questions wait for {@link ChoiceTable.measure}. */
  get pending(): boolean {
    return this.#pending.size > 0;
  }

  /**
   * Times the candidates of all questions that wait, and waits for those that are being timed. What cannot be timed keeps its default.
   * @returns whether there were any.
   */
  async measure(): Promise<boolean> {
    const before = this.#measuring;
    if (!this.pending) return before === undefined ? false : before.then(() => true);
    const own = (async () => {
      await before?.catch(() => undefined);
      await this.#measurePending();
      return true;
    })();
    this.#measuring = own;
    try {
      return await own;
    } finally {
      if (this.#measuring === own) this.#measuring = undefined;
    }
  }

  async #measurePending(): Promise<void> {
    const questions = [...this.#pending.values()];
    this.#pending.clear();
    for (const { key, candidates, name, work, margin = defaultMargin } of questions) {
      const times = await this.#timer!(candidates.map(work));
      let best = 0;
      times.forEach((time, i) => {
        if (!Number.isFinite(time)) return;
        const limit = best === 0 ? times[0]! * (1 - margin) : times[best]!;
        if (!Number.isFinite(times[best]!) || time < limit) best = i;
      });
      const nanoseconds = Object.fromEntries(candidates.map((candidate, i) => [name(candidate), times[i]!]));
      this.#answers.set(key, { chosen: name(candidates[best]!), nanoseconds });
    }
    if (questions.length > 0) await this.#keep?.(this.stored());
  }

  /** All answers by question. */
  get answers(): Readonly<Record<string, MeasuredChoice>> {
    return Object.fromEntries(this.#answers);
  }

  /** The answers as text for {@link ChoiceTable.restore}. */
  stored(): string {
    return JSON.stringify({ version: tableVersion, identity: this.#identity, answers: this.answers });
  }

  /**
   * Takes answers that were stored, where nothing is known yet. Text of another version, another device, or no such text is ignored:
   * the answers are then measured again.
   * @returns how many answers were taken.
   */
  restore(text: string): number {
    let stored: { version?: unknown; identity?: unknown; answers?: Readonly<Record<string, MeasuredChoice>> };
    try {
      stored = JSON.parse(text);
    } catch (cause) {
      if (cause instanceof SyntaxError) return 0;
      throw new ForerunError('choices', 'The stored choices could not be read.', { cause });
    }
    if (stored?.version !== tableVersion || stored.identity !== this.#identity) return 0;
    let taken = 0;
    for (const [key, answer] of Object.entries(stored.answers ?? {})) {
      if (typeof answer?.chosen !== 'string' || typeof answer.nanoseconds !== 'object' || this.#answers.has(key))
        continue;
      this.#answers.set(key, { chosen: answer.chosen, nanoseconds: answer.nanoseconds ?? {} });
      taken++;
    }
    return taken;
  }
}
