import type { Drafter, DrafterState, Rewindable, Verifier } from '@forerun/contracts';
import type { Program, StateBuffers } from '@forerun/tensor';
import { ArgumentError, DeviceLimitError, OutOfMemoryError } from '@forerun/tensor';
import { maxDepths } from '../loop/loop-states.ts';
import { traceMark, tracePrefill, traceTruncate } from '../programs/prefill-program.ts';
import type { RoundParts } from '../programs/round-program.ts';
import { probeProposal, traceRound } from '../programs/round-program.ts';
import { measureRound } from './measure.ts';
import type { Engine } from './engine.ts';

/** Widths that are compiled; what lies between runs in the next larger one. */
export const widthClasses = [1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64] as const;

/** Rows at which a proposal is looked at before it is needed, the first at which trees branch; a drafter may serve some of them alone. */
const probedWidths = [8, 2, 32, 64] as const;

/** The programs of one drafter and one verifier on an engine. */
export class Speculation {
  readonly drafter: Drafter | undefined;
  readonly verifier: Verifier;
  readonly drafterState: DrafterState | undefined;
  readonly #engine: Engine;
  /** Plain decoding with the same verifier. */
  readonly #plain: Speculation | undefined;
  readonly #rounds = new Map<number, Promise<Program>>();
  readonly #ready = new Map<number, Program>();
  readonly #prefills = new Map<number, Promise<Program>>();
  readonly #roundMs = new Map<number, number>();
  readonly #withdrawn = new Set<number>();
  #preparing: Promise<void> = Promise.resolve();
  /** Why a width could not be prepared, if it was not for want of memory. */
  #failure: { readonly error: unknown } | undefined;
  #fed: Promise<Program> | undefined;
  #fedProgram: Program | undefined;
  #truncate: Promise<Program> | undefined;
  #mark: Promise<Program | undefined> | undefined;

  constructor(
    engine: Engine,
    parts: { drafter: Drafter | undefined; verifier: Verifier; plain: Speculation | undefined },
  ) {
    this.#engine = engine;
    this.drafter = parts.drafter;
    this.verifier = parts.verifier;
    this.#plain = parts.plain;
    this.drafterState = parts.drafter?.state(engine.capacityTokens, { rollbackTokens: engine.rollbackTokens });
    // A proposal that does not fit is refused while it is traced; said here, it does not wait for the first wide round.
    probeProposal(this.#parts(), probedWidths);
  }

  /** The states that go back together. */
  get rewindable(): readonly Rewindable[] {
    return this.drafterState ? [this.#engine.state, this.drafterState] : [this.#engine.state];
  }

  /** Buffers of one conversation. */
  allocate(): StateBuffers {
    return this.#engine.allocate(this.drafterState?.states ?? []);
  }

  /** The round of `width` rows, compiled once. Width 1 is shared by all drafters. */
  round(width: number): Promise<Program> {
    if (!Number.isInteger(width) || width < 1 || width > maxDepths) {
      throw new ArgumentError(`A round has 1 to ${maxDepths} rows, got ${width}.`);
    }
    if (width === 1 && this.#plain) return this.#plain.round(1);
    if (width > 1 && !this.drafter) {
      throw new ArgumentError(
        `A round of ${width} rows needs a drafter; open the conversation with one, or use width 1.`,
      );
    }
    const known = this.#rounds.get(width);
    if (known) return known;
    const name = `${this.drafter?.name ?? 'plain'} round of ${width}`;
    const made = this.#engine.compile(traceRound(this.#parts(), width), name);
    this.#rounds.set(width, made);
    made.then(
      (program) => void this.#ready.set(width, program),
      () => void this.#rounds.delete(width),
    );
    return made;
  }

  /**
   * The round of width 1 whose token the drafter takes in, so that it can go on drafting behind it; the plain one for a drafter that keeps
   * nothing.
   */
  fed(): Promise<Program> {
    if (!this.drafterState || this.drafterState.states.length === 0) return this.round(1);
    if (this.#fed) return this.#fed;
    const made = this.#engine.compile(traceRound(this.#parts(), 1), `plain round that feeds ${this.drafter!.name}`);
    this.#fed = made;
    made.then(
      (program) => void (this.#fedProgram = program),
      () => void (this.#fed = undefined),
    );
    return made;
  }

  /** The same if it is compiled. */
  get fedProgram(): Program | undefined {
    return this.#fedProgram;
  }

  /** Rounds that are compiled, by width. */
  get ready(): ReadonlyMap<number, Program> {
    return this.#ready;
  }

  /**
   * Milliseconds of a round at width 1 and at those of `asked` that are ready: compiled, measured on a conversation of their own, and not
   * withdrawn because their rows lack the bits of width 1 on this device, or for want of memory. The others are prepared behind the scenes.
   *
   * @throws what an earlier call met there: kernels of a drafter or verifier that do not compile, a lost device.
   */
  costs(asked: readonly number[]): ReadonlyMap<number, number> {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.error;
    void this.prepare(asked).catch((error: unknown) => void (this.#failure = { error }));
    return this.knownCosts(asked);
  }

  /** The same without preparing anything. */
  knownCosts(asked: readonly number[]): ReadonlyMap<number, number> {
    const known = [...this.#roundMs].filter(([width]) => asked.includes(width));
    return new Map([[1, this.#roundMs.get(1) ?? 1], ...known]);
  }

  /** Resolves when every width of `asked` has been compiled and measured, or withdrawn; narrow ones come first. */
  prepare(asked: readonly number[]): Promise<void> {
    this.#preparing = this.#preparing.then(async () => {
      for (const width of [1, ...asked].toSorted((a, b) => a - b)) {
        if (this.#roundMs.has(width) || this.#withdrawn.has(width)) continue;
        if (!(await this.#affordable(width))) this.#withdrawn.add(width);
        else if (width === 1) await this.fed();
      }
    });
    const done = this.#preparing;
    this.#preparing = done.catch(() => undefined);
    return done;
  }

  /** The prefill pass of `chunk` tokens. */
  prefill(chunk: number): Promise<Program> {
    if (this.drafter === undefined && this.#plain) return this.#plain.prefill(chunk);
    const known = this.#prefills.get(chunk);
    if (known) return known;
    const made = this.#engine.compile(tracePrefill(this.#parts(), chunk), `prefill of ${chunk}`);
    this.#prefills.set(chunk, made);
    made.catch(() => void this.#prefills.delete(chunk));
    return made;
  }

  /** What brings the states back to the loop's length. */
  truncate(): Promise<Program> {
    return (this.#truncate ??= this.#engine.compile(traceTruncate(this.#parts()), 'truncate'));
  }

  /** What makes the loop's length one to come back to; undefined where the states need no marks. */
  mark(): Promise<Program | undefined> {
    const compiled = async () => {
      const graph = traceMark(this.#parts());
      return graph && this.#engine.compile(graph, 'mark');
    };
    return (this.#mark ??= compiled());
  }

  /** Compiles and measures the round of a width; false where its rows lack the bits of width 1, or the memory for it is not there. */
  async #affordable(width: number): Promise<boolean> {
    try {
      if (!(await this.#engine.exactWidths([width])).has(width)) return false;
      this.#roundMs.set(width, await measureRound(this.#engine, this, await this.round(width)));
      return true;
    } catch (error) {
      if (width > 1 && (error instanceof DeviceLimitError || error instanceof OutOfMemoryError)) return false;
      throw error;
    }
  }

  #parts(): RoundParts {
    const { decoder, state, loop, noise } = this.#engine;
    const drafter = this.drafter && { drafter: this.drafter, state: this.drafterState! };
    return { decoder, state, loop, noise, verifier: this.verifier, drafter };
  }
}
