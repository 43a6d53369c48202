/**
 * What a round costs: on the GPU alone, and as a conversation runs it, with several rounds in flight and the loop's words read after
 * each. Rounds really happen, one behind the other; what they produced is checked before a time is given.
 */
import { loopWords } from '@forerun/contracts';
import type { Engine } from '@forerun/decoding';
import { maxRoundsInFlight } from '@forerun/decoding';
import type { Program, StateBuffers } from '@forerun/tensor';
import { Commands, MeasurementError, steadyClock } from '@forerun/tensor';

/** Cost of a round. */
export interface RoundTime {
  /** Wall time of a round with several in flight, in ms. */
  readonly wallMs: number;
  /** Time that the GPU spent in it, in ms; undefined where the device has no timestamps. */
  readonly gpuMs: number | undefined;
  /** Time that the host took to encode and submit it, in ms. */
  readonly encodeMs: number;
}

/** What rounds are timed on. */
export interface RoundTimingOptions {
  readonly states: StateBuffers;
  /** Loop state that every trial starts from; without it rounds go on from where the loop stands, as a drafter's own state wants. */
  readonly words?: Uint32Array<ArrayBuffer>;
  /** Rounds of a trial. */
  readonly rounds: number;
  /** Most tokens that a round keeps. */
  readonly width: number;
  /** Timed trials; one more before them pays for first use. */
  readonly trials: number;
}

/** Words of a loop that stands at `length` tokens and never ends by itself. */
export function openLoopWords(engine: Engine, length: number): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(engine.loop.loop.byteLength / 4);
  words[loopWords.length] = length;
  words[loopWords.budget] = 2 ** 31;
  words[loopWords.promptLength] = length;
  return words;
}

/** The loop's reason for stopping at logits that are not numbers. */
const notANumber = 4;

/** Where the loop stands before rounds, and what is done after them. */
class RoundLedger {
  readonly #engine: Engine;
  readonly #program: Program;
  readonly #options: RoundTimingOptions;

  constructor(engine: Engine, program: Program, options: RoundTimingOptions) {
    this.#engine = engine;
    this.#program = program;
    this.#options = options;
  }

  /** Sets the loop to its start, or reads where it is. */
  async begin(): Promise<Uint32Array> {
    const { states, words } = this.#options;
    const { loop } = this.#engine.loop;
    if (words) states.write(loop, words);
    await steadyClock(this.#engine.device);
    await this.#engine.device.idle();
    return words ?? ((await states.read(loop)) as Uint32Array);
  }

  /** Kernels of a loop that has stopped return at once; a time of those would be none. */
  async end(before: Uint32Array): Promise<void> {
    const after = await this.#options.states.read(this.#engine.loop.loop);
    const ran = after[loopWords.rounds]! - before[loopWords.rounds]!;
    // The last round may be the one that fills the capacity.
    if (ran === this.#options.rounds && after[loopWords.reason] !== notANumber) return;
    const why = ['', 'a stop token', 'the budget', 'the capacity', 'logits that are not numbers'];
    throw new MeasurementError(
      `${this.#program.name}: ${ran} of ${this.#options.rounds} rounds ran before ${why[after[loopWords.reason]!] || 'the loop'} stopped them, so their time says nothing. Use a larger capacity, other weights or fewer rounds.`,
    );
  }
}

/**
 * Times rounds of a program. The best of every figure counts.
 *
 * @throws {@link MeasurementError} when rounds stopped early, since kernels of a loop that has stopped return at once.
 */
export async function timeRounds(engine: Engine, program: Program, options: RoundTimingOptions): Promise<RoundTime> {
  const { device, loop } = engine;
  const { states, rounds, width, trials } = options;
  const timed = device.has('timestamp-query');
  const ledger = new RoundLedger(engine, program, options);
  let [wallMs, gpuMs, encodeMs] = [Infinity, Infinity, Infinity];
  for (let trial = 0; trial <= trials; trial++) {
    const together = await ledger.begin();
    const bound = (words: Uint32Array, count: number): number =>
      Math.min(words[loopWords.length]! + count * width, engine.capacityTokens);
    const commands = new Commands(device, { timed });
    for (let round = 0; round < rounds; round++) commands.run(program, { states, bound: bound(together, rounds) });
    const gpu = timed ? commands.gpuMs() : Promise.resolve(undefined);
    commands.submit();
    const total = await gpu;
    await ledger.end(together);

    const apart = await ledger.begin();
    const start = performance.now();
    let encoding = 0;
    const reads: Promise<unknown>[] = [];
    for (let round = 0; round < rounds; round++) {
      if (reads.length >= maxRoundsInFlight) await reads.shift();
      const begin = performance.now();
      const submit = new Commands(device).run(program, { states, bound: bound(apart, round + 1) });
      reads.push(submit.readStates(states, [{ state: loop.loop, begin: 0, end: apart.length }]));
      submit.submit();
      encoding += performance.now() - begin;
    }
    await Promise.all(reads);
    const wall = performance.now() - start;
    await ledger.end(apart);
    if (trial === 0) continue;
    wallMs = Math.min(wallMs, wall / rounds);
    encodeMs = Math.min(encodeMs, encoding / rounds);
    if (total !== undefined) gpuMs = Math.min(gpuMs, total / rounds);
  }
  return { wallMs, gpuMs: timed ? gpuMs : undefined, encodeMs };
}

/** What decides the pace: the slower of GPU and host where the GPU can be timed, else the wall. */
export function paceMs({ wallMs, gpuMs, encodeMs }: RoundTime): number {
  return gpuMs === undefined ? wallMs : Math.max(gpuMs, encodeMs);
}
