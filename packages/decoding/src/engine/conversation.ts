/**
 * One conversation: its state buffers, the tokens that they hold, and the host's side of the loop. The host only submits rounds and
 * reads, late, what they kept; which tokens are kept, and when to stop, is decided on the GPU.
 */
import { ConversationStateError, NumericError } from '@forerun/contracts';
import type { HostArray, Program, StateBuffers } from '@forerun/tensor';
import { AbortedError, Commands, packSampling } from '@forerun/tensor';
import { loopLayout } from '../loop/loop-states.ts';
import { WidthPolicy } from '../policy/width-policy.ts';
import { StopStrings } from '../text/stop-strings.ts';
import type { Engine } from './engine.ts';
import { throwIfAborted } from './aborted.ts';
import { HostGuess } from './host-guess.ts';
import { maxRoundsInFlight, maxStopStringBytes } from './limits.ts';
import { startWords } from './measure.ts';
import { nextPass, submitPass } from './prefill-chunks.ts';
import type { CheckedRequest, GenerateRequest } from './request.ts';
import { checkRequest } from './request.ts';
import { RewindLog } from './rewind-log.ts';
import type { PhaseTimes, RoundReport } from './round-report.ts';
import { phaseTimes, roundReport, sumOfTimes } from './round-report.ts';
import { usesPenalties } from './sampling-settings.ts';
import type { Speculation } from './speculation.ts';
import { widthClasses } from './speculation.ts';
import type { GenerationStatistics, LoopCounters, StopReason } from './statistics.ts';
import { generationStatistics, loopCounters } from './statistics.ts';

/** What one round gave. */
export interface GenerationStep {
  /** Tokens that were kept: accepted drafts, then the target's own. */
  readonly tokens: readonly number[];
  /** Text that became certain; empty without a detokenizer. */
  readonly text: string;
  /** Rows of the round. */
  readonly width: number;
  /** Draft tokens that were verified, and how many of the path were accepted. */
  readonly drafts: readonly number[];
  readonly accepted: number;
  /** The round itself, where the request asked for `rounds`. */
  readonly round?: RoundReport;
}

interface RoundInFlight {
  readonly width: number;
  readonly from: number;
  readonly result: Promise<HostArray[]>;
  readonly times: Promise<PhaseTimes | undefined>;
}

/** Rows that `width: 'auto'` may choose from on each kind of adapter. */
const automaticWidths = { hardware: [2, 4, 8, 16], software: [2, 4, 8] } as const;

/** A conversation on an engine. Close it when it is over; its memory is freed then. */
export class Conversation {
  readonly engine: Engine;
  readonly #speculation: Speculation;
  readonly #states: StateBuffers;
  readonly #policy = new WidthPolicy();
  readonly #guess: HostGuess | undefined;
  readonly #past = new RewindLog();
  #tokens: number[] = [];
  /** How many of the tokens, from the first, are in the caches. */
  #cached = 0;
  #busy = false;
  #closed = false;
  #statistics: GenerationStatistics | undefined;

  constructor(engine: Engine, speculation: Speculation) {
    this.engine = engine;
    this.#speculation = speculation;
    this.#guess = HostGuess.of(speculation.drafter, speculation.drafterState);
    this.#states = speculation.allocate();
  }

  /** Every token that is kept: the last prompt and what was generated for it. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** Name of who guesses; `none` for plain decoding. */
  get drafterName(): string {
    return this.#speculation.drafter?.name ?? 'none';
  }

  /** What the last run did. */
  get statistics(): GenerationStatistics | undefined {
    return this.#statistics;
  }

  /**
   * Resolves when every width that `width: 'auto'` may choose has been compiled and measured. Without waiting for it the first tokens come
   * plainly, and wider rounds join when they are ready.
   */
  async ready(): Promise<void> {
    if (this.#speculation.drafter) await this.#speculation.prepare(this.#automaticWidths);
  }

  /** Widths that `width: 'auto'` may choose from at this moment, width 1 included. */
  get readyWidths(): readonly number[] {
    return [...this.#speculation.knownCosts(this.#automaticWidths).keys()];
  }

  /** The program of this conversation's rounds at a width, for profiles and tools that look inside. */
  program(width: number): Promise<Program> {
    return this.#speculation.round(width);
  }

  /** The state buffers, for tests and tools that look inside. */
  get states(): StateBuffers {
    return this.#states;
  }

  /**
   * Generates tokens after a prompt, a round at a time. What the prompt shares with the conversation so far is not computed again.
   * Leaving the loop early, an abort or a stop string keeps exactly the tokens given.
   *
   * @throws {@link ArgumentError}, {@link CapacityError}, {@link AbortedError}, {@link NumericError}, {@link ConversationStateError},
   * or the device's own errors.
   */
  async *generate(request: GenerateRequest): AsyncGenerator<GenerationStep, GenerationStatistics, void> {
    if (this.#closed) throw new ConversationStateError('This conversation was closed; open a new one.');
    if (this.#busy) {
      throw new ConversationStateError(
        'This conversation is generating; wait for it, or open a second one on the same engine.',
      );
    }
    const { vocabSize } = this.engine.decoder;
    const checked = checkRequest(request, {
      vocabSize,
      capacityTokens: this.engine.capacityTokens,
      maxStopStringBytes,
    });
    this.#busy = true;
    try {
      return yield* this.#run(checked);
    } finally {
      this.#busy = false;
    }
  }

  /** Frees the conversation's memory. */
  close(): void {
    if (this.#busy)
      throw new ConversationStateError('This conversation is generating; end its loop before closing it.');
    if (!this.#closed) this.#states.destroy();
    this.#closed = true;
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  async *#run(request: CheckedRequest): AsyncGenerator<GenerationStep, GenerationStatistics, void> {
    throwIfAborted(request.signal);
    const start = performance.now();
    const reused = await this.#begin(request);
    const choose = await this.#widthChooser(request);
    await this.#prefill(request, reused);
    const prefillEnd = performance.now();

    const stops = new StopStrings(request.stopStrings);
    const shownAfter: number[] = [];
    const promptLength = request.prompt.length;
    const inFlight: RoundInFlight[] = [];
    const roundsByWidth: Record<number, number> = {};
    let counters: LoopCounters | undefined;
    let read = promptLength - 1;
    let readbackMs = 0;
    let reason: StopReason | undefined;
    let decodeEnd = prefillEnd;
    let times: PhaseTimes | undefined;
    // A function on the host has to see the tokens of each round before it guesses for the next.
    const mostInFlight = this.#guess ? 1 : maxRoundsInFlight;
    let hostMs = this.#guess ? 0 : undefined;
    try {
      while (reason === undefined) {
        while (inFlight.length < mostInFlight && this.#mayProduce(inFlight, read, request)) {
          const { width, program } = await choose();
          if (this.#guess && width > 1) hostMs = (hostMs ?? 0) + (await this.#ask(width - 1, request.signal));
          const ahead = inFlight.reduce((sum, round) => sum + round.width, 0);
          inFlight.push(this.#submit(program, { width, from: read, bound: read + ahead + width, request }));
        }
        const waiting = performance.now();
        const round = inFlight.shift()!;
        const [words, history] = await round.result;
        const roundTimes = await round.times;
        if (roundTimes) times = sumOfTimes(times, roundTimes);
        readbackMs += performance.now() - waiting;
        throwIfAborted(request.signal);
        counters = loopCounters(words as Uint32Array);
        const tokens = Array.from(history!.subarray(read + 1 - round.from, counters.length + 1 - round.from));
        read = counters.length;
        if (counters.reason === 'not-a-number') {
          throw new NumericError(
            'The model produced logits that are not numbers. Check the weights, or use f32 weights and cache.',
          );
        }
        const text = this.#keep(tokens, { request, stops, shownAfter });
        decodeEnd = performance.now();
        const { proposal } = counters;
        // Rounds in flight behind the end did nothing, so a round counts when it is read.
        roundsByWidth[round.width] = (roundsByWidth[round.width] ?? 0) + 1;
        this.#policy.observe(round.width, proposal.acceptedRows - 1);
        if (text.stopped) reason = 'stop-string';
        else if (counters.stopped) reason = counters.reason as StopReason;
        const held =
          reason !== undefined && reason !== 'stop-string'
            ? stops.push(request.detokenizer?.flush() ?? '').text + stops.flush()
            : '';
        yield {
          tokens: tokens.slice(0, text.kept),
          text: text.text + held,
          width: round.width,
          drafts: proposal.tokens.slice(1),
          accepted: proposal.acceptedRows - 1,
          ...(request.rounds ? { round: roundReport(words as Uint32Array, roundTimes) } : {}),
        };
      }
    } catch (error) {
      reason = error instanceof AbortedError ? 'aborted' : undefined;
      throw error;
    } finally {
      reason ??= 'abandoned';
      // Rounds in flight past the end changed nothing that counts; the caches hold at most what they had read.
      await Promise.allSettled(inFlight.flatMap((round) => [round.result, round.times]));
      this.#cached = Math.min(read, this.#tokens.length - 1);
      this.#statistics = generationStatistics({
        promptTokens: promptLength,
        reusedTokens: reused,
        generatedTokens: this.#tokens.length - promptLength,
        roundsByWidth,
        prefillMs: prefillEnd - start,
        decodeMs: decodeEnd - prefillEnd,
        readbackMs,
        counters,
        hostMs,
        times,
        stopReason: reason,
      });
    }
    return this.#statistics!;
  }

  /** Brings tokens and states to the start of a run. Returns how many tokens the caches keep. */
  async #begin(request: CheckedRequest): Promise<number> {
    const { prompt, settings, stopTokens, maxTokens } = request;
    const { engine } = this;
    const speculation = this.#speculation;
    // Compiled first, so that nothing is promised of the states that a failure could leave undone.
    const truncate = await speculation.truncate();
    await speculation.mark();
    let common = 0;
    const most = Math.min(this.#cached, prompt.length - 1);
    while (common < most && this.#tokens[common] === prompt[common]) common++;
    const reachable = this.#past.reachable(speculation.rewindable, common);
    this.#past.rewound(speculation.rewindable, reachable);
    const { loop, history, sampling } = engine.loop;
    this.#tokens = [...prompt];
    this.#cached = reachable;
    this.#states.write(history, Uint32Array.from(prompt));
    this.#states.write(sampling.settings, packSampling(settings));
    if (usesPenalties(settings)) {
      const counts = new Uint32Array(2 * engine.decoder.vocabSize);
      for (const token of prompt) counts[token]! += 1;
      this.#states.write(sampling.counts, counts);
    }
    const words = startWords(
      {
        length: reachable,
        anchor: prompt.at(-1)!,
        budget: maxTokens,
        promptLength: prompt.length,
        capacity: engine.capacityTokens,
        prefillEnd: prompt.length - 1,
      },
      stopTokens,
    );
    this.#states.write(loop, words);
    new Commands(engine.device).run(truncate, { states: this.#states }).submit();
    await this.#mark(reachable);
    return reachable;
  }

  /** Makes the length that the states have now one that the conversation can come back to; theirs is that of the loop state. */
  async #mark(length: number): Promise<void> {
    const mark = await this.#speculation.mark();
    if (!mark) return;
    new Commands(this.engine.device).run(mark, { states: this.#states }).submit();
    this.#past.marked(length);
  }

  async #prefill(request: CheckedRequest, from: number): Promise<void> {
    const { engine } = this;
    const end = request.prompt.length - 1;
    let at = from;
    let waiting: Promise<unknown> = Promise.resolve();
    while (at < end) {
      const left = end - at;
      const pass = nextPass(engine.prefillPasses, left);
      const chunk = pass.tokens;
      const program = await this.#speculation.prefill(chunk);
      throwIfAborted(request.signal);
      const commands = submitPass(engine, pass, { program, states: this.#states, bound: at + chunk });
      const done = commands.readStates(this.#states, [{ state: engine.loop.loop, begin: 0, end: 4 }]);
      commands.submit();
      this.#past.wrote(Math.min(at + chunk, end));
      at += Math.min(chunk, left);
      // At most two passes wait in the queue, so that an abort is obeyed soon.
      await waiting;
      this.#cached = Math.max(this.#cached, Math.min(at - chunk, end));
      waiting = done;
      done.catch(() => undefined);
    }
    await waiting;
    this.#cached = end;
    if (from < end) await this.#mark(end);
  }

  /** Whether a further round could still produce anything. */
  #mayProduce(inFlight: readonly RoundInFlight[], read: number, request: CheckedRequest): boolean {
    return inFlight.length === 0 || read + 1 + inFlight.length < request.prompt.length + request.maxTokens;
  }

  get #automaticWidths(): readonly number[] {
    return automaticWidths[this.engine.device.adapter.kind];
  }

  async #widthChooser(request: CheckedRequest): Promise<() => Promise<{ width: number; program: Program }>> {
    const speculation = this.#speculation;
    const fixed = speculation.drafter ? request.width : 1;
    if (fixed !== 'auto') {
      const rows = widthClasses.find((size) => size >= fixed)!;
      const program = await speculation.round(rows);
      return async () => ({ width: rows, program });
    }
    const widths = request.widths ?? this.#automaticWidths;
    // The first tokens come plainly; wider rounds join when they are ready.
    return async () => {
      const width = this.#policy.choose({ roundMs: speculation.costs(widths) });
      const fed = width === 1 && this.#policy.near ? speculation.fedProgram : undefined;
      return { width, program: fed ?? (await speculation.round(width)) };
    };
  }

  #submit(
    program: Program,
    { width, from, bound, request }: { width: number; from: number; bound: number; request: CheckedRequest },
  ): RoundInFlight {
    const { device, loop, capacityTokens } = this.engine;
    const timed = request.rounds === true && device.has('timestamp-query');
    const commands = new Commands(device, { timed: timed && 'sections' }).run(program, { states: this.#states, bound });
    const result = commands.readStates(this.#states, [
      { state: loop.loop, begin: 0, end: request.rounds ? loopLayout.words : loopLayout.counterWords },
      { state: loop.history, begin: from, end: Math.min(bound + 1, capacityTokens) },
    ]);
    const times = timed ? commands.sectionMs().then(phaseTimes) : Promise.resolve(undefined);
    commands.submit();
    this.#past.wrote(bound);
    result.catch(() => undefined);
    times.catch(() => undefined);
    return { width, from, result, times };
  }

  /** Asks the drafter's function for at most `most` drafts. Returns how long it took, in ms. */
  async #ask(most: number, signal: AbortSignal | undefined): Promise<number> {
    const begin = performance.now();
    await this.#guess!.ask({ tokens: this.#tokens, states: this.#states, most, signal });
    return performance.now() - begin;
  }

  /** Takes in tokens that the GPU kept; a stop string in their text takes the last ones back. */
  #keep(
    tokens: readonly number[],
    { request, stops, shownAfter }: { request: CheckedRequest; stops: StopStrings; shownAfter: number[] },
  ): { text: string; kept: number; stopped: boolean } {
    const { detokenizer } = request;
    let text = '';
    let kept = 0;
    let total = shownAfter.at(-1) ?? 0;
    for (const token of tokens) {
      const piece = detokenizer?.push(token) ?? '';
      const outcome = stops.push(piece);
      text += outcome.text;
      total += piece.length;
      shownAfter.push(total);
      this.#tokens.push(token);
      kept++;
      if (!outcome.stopped) continue;
      // Tokens whose text reaches past the cut are not kept.
      while (shownAfter.length > 0 && shownAfter.at(-1)! > stops.shown) {
        shownAfter.pop();
        this.#tokens.pop();
        kept--;
      }
      return { text, kept: Math.max(0, kept), stopped: true };
    }
    return { text, kept, stopped: false };
  }
}
