/**
 * One model on one device, ready to decode: its programs, its prefill chunks, and what each width costs. It owns no conversation;
 * each of those has its own state buffers and shares everything here.
 */
import type { Decoder, DecoderState, Drafter, Noise, Verifier } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Arithmetic, ChoiceTable, Device, Graph, Program, State, Weight, WeightStore } from '@forerun/tensor';
import { ArgumentError, compile, deviceChoices, DeviceLimitError, StateBuffers } from '@forerun/tensor';
import type { LoopStates } from '../loop/loop-states.ts';
import { loopStates, maxDepths } from '../loop/loop-states.ts';
import { Conversation } from './conversation.ts';
import { maxRoundsInFlight, maxStopStringBytes } from './limits.ts';
import { choosePrefillPasses, passesOf, prefillChunks, type PrefillPass } from './prefill-chunks.ts';
import { Speculation } from './speculation.ts';
import { exactWidths } from './width-check.ts';

/** Rows that a cache has beyond its capacity, so that a wide round near the end never writes past it. */
const slackRows = maxDepths;

/** What an engine needs. */
export interface EngineOptions {
  readonly device: Device;
  readonly decoder: Decoder;
  /** Decides what is kept when no drafter is used, and for drafters opened without a verifier of their own. */
  readonly verifier: Verifier;
  /** Makes the noise that is keyed by the seed in a conversation's settings. */
  readonly noise: (settings: State) => Noise;
  readonly weights: {
    readonly store: WeightStore;
    /** Uploads weights that have just got their memory; called again when a drafter brings more. */
    readonly fill: (weights: readonly Weight[]) => Promise<void>;
  };
  /** Most tokens of a conversation, prompt included. */
  readonly capacityTokens: number;
  /** Element type of cached keys and values; f32 by default. */
  readonly cache?: 'f32' | 'f16';
  /** Precision of products in the matrices of decoding, as `compile` takes it; f32 by default. f16 and i8 need device features. */
  readonly arithmetic?: Arithmetic;
  /** Which kernels of equal bits are fastest here; the device's own table without, which measures on hardware and keeps what it finds. */
  readonly choices?: ChoiceTable;
  /** Sizes of prefill passes, largest first; measured on the device without. */
  readonly chunkTokens?: readonly number[];
  /** Refuse to load if weights, one conversation and scratch need more device bytes than this. */
  readonly memoryLimitBytes?: number;
}

/** Device bytes that a loaded model with one conversation takes. */
export interface MemoryEstimate {
  readonly weightBytes: number;
  readonly stateBytes: number;
  readonly scratchBytes: number;
  readonly totalBytes: number;
}

/** A model that is loaded and can open conversations. */
export class Engine {
  readonly device: Device;
  readonly decoder: Decoder;
  readonly verifier: Verifier;
  readonly capacityTokens: number;
  /** Precision of products in the matrices of decoding. */
  readonly arithmetic: Arithmetic;
  readonly loop: LoopStates;
  readonly state: DecoderState;
  readonly noise: Noise;
  readonly #options: EngineOptions;
  readonly #speculations = new Map<Verifier, Map<Drafter | undefined, Speculation>>();
  readonly #programs = new Set<Program>();
  readonly #exactWidths = new Map<number, boolean>([[1, true]]);
  #passes: readonly PrefillPass[] = [];
  #scratchBytes = 0;

  private constructor(options: EngineOptions) {
    const { decoder, capacityTokens, device } = options;
    if (!Number.isInteger(capacityTokens) || capacityTokens < 2) {
      throw new ArgumentError(`Engine: capacityTokens must be a whole number of at least 2, got ${capacityTokens}.`);
    }
    if (capacityTokens > decoder.maxPositions) {
      throw new ArgumentError(
        `Engine: the model was made for at most ${decoder.maxPositions} tokens, but a capacity of ${capacityTokens} was asked for.`,
      );
    }
    this.#options = options;
    this.device = device;
    this.decoder = decoder;
    this.verifier = options.verifier;
    this.capacityTokens = capacityTokens;
    this.arithmetic = options.arithmetic ?? 'f32';
    this.loop = loopStates(capacityTokens, decoder.vocabSize);
    this.state = decoder.state(capacityTokens + slackRows, {
      rollbackTokens: this.rollbackTokens,
      passTokens: Math.max(...(options.chunkTokens ?? []).filter(Number.isInteger), ...prefillChunks),
      ...(options.cache ? { cache: options.cache } : {}),
    });
    this.noise = options.noise(this.loop.sampling.settings);
  }

  /**
   * Compiles the programs of plain decoding, checks that everything fits, takes the memory and has the weights uploaded.
   * Whatever fails, the memory is given back, that of the weight store too.
   * @throws {@link DeviceLimitError} before any weight is loaded, with the numbers, when it does not fit; MissingFeatureError when
   *   f16 or i8 arithmetic is asked for on a device without what it needs.
   */
  static async create(options: EngineOptions): Promise<Engine> {
    const engine = new Engine(options);
    try {
      await engine.speculation(undefined).round(1);
      const { chunkTokens } = options;
      if (
        chunkTokens &&
        (chunkTokens.length === 0 || chunkTokens.some((chunk) => !Number.isInteger(chunk) || chunk < 1))
      ) {
        throw new ArgumentError(`Engine: chunkTokens must be positive whole numbers, got [${chunkTokens.join(', ')}].`);
      }
      engine.#passes = chunkTokens ? passesOf(chunkTokens) : await choosePrefillPasses(engine);
    } catch (error) {
      engine.destroy();
      throw error;
    }
    return engine;
  }

  /** Tokens by which every state can go back. */
  get rollbackTokens(): number {
    return maxRoundsInFlight * maxDepths + maxStopStringBytes;
  }

  /** Sizes of prefill passes, largest first; fixed for the life of the engine. */
  get chunkTokens(): readonly number[] {
    return this.#passes.map(({ tokens }) => tokens);
  }

  /** The same with what each costs and how it is submitted. */
  get prefillPasses(): readonly PrefillPass[] {
    return this.#passes;
  }

  /** Programs compiled so far. */
  get programs(): readonly Program[] {
    return [...this.#programs];
  }

  /** Device bytes for the weights, one conversation (with the drafter that takes most) and scratch, as compiled so far. */
  get memory(): MemoryEstimate {
    const own = bytesOf(new Set([...this.#loopStateList(), ...this.state.states]));
    const stateBytes = own + Math.max(0, ...this.#drafterStates().map(bytesOf));
    const weightBytes = this.#options.weights.store.byteLength;
    const scratchBytes = this.#scratchBytes;
    return { weightBytes, stateBytes, scratchBytes, totalBytes: weightBytes + stateBytes + scratchBytes };
  }

  /** Opens a conversation; `drafter` guesses for it, its absence is plain decoding. */
  open(options: { readonly drafter?: Drafter; readonly verifier?: Verifier } = {}): Conversation {
    return new Conversation(this, this.speculation(options.drafter, options.verifier));
  }

  /** The programs of a drafter and a verifier on this engine, made once. */
  speculation(drafter: Drafter | undefined, verifier: Verifier = this.verifier): Speculation {
    if (verifier.needs.distribution && drafter && !drafter.gives.distribution) {
      throw new MismatchedPartsError(
        `Verifier ${verifier.name} needs the distribution that drafts were drawn from, which drafter ${drafter.name} does not give; use the sample-and-match verifier.`,
      );
    }
    const byDrafter = this.#speculations.get(verifier) ?? new Map<Drafter | undefined, Speculation>();
    this.#speculations.set(verifier, byDrafter);
    const known = byDrafter.get(drafter);
    if (known) return known;
    const made = new Speculation(this, {
      drafter,
      verifier,
      plain: drafter ? this.speculation(undefined, verifier) : undefined,
    });
    byDrafter.set(drafter, made);
    return made;
  }

  /** Fresh buffers for the loop, the model and a drafter. */
  allocate(drafterStates: readonly State[]): StateBuffers {
    return new StateBuffers(this.device, [...this.#loopStateList(), ...this.state.states, ...drafterStates]);
  }

  /** Compiles a graph whose kernels return at once while the loop's stop word is set. */
  async compile(graph: Graph, name: string): Promise<Program> {
    const { store } = this.#options.weights;
    const program = await compile(graph, {
      device: this.device,
      name,
      weights: store,
      arithmetic: this.arithmetic,
      choices: this.#options.choices ?? (await deviceChoices(this.device)),
      guard: { state: this.loop.loop, word: 0 },
    });
    this.#programs.add(program);
    this.#scratchBytes = Math.max(
      this.#scratchBytes,
      program.plan.slotBytes.reduce((sum, bytes) => sum + bytes, 0),
    );
    this.#reckon();
    const fresh = await this.device.scoped(() => store.allocate());
    if (fresh.length > 0) await this.#options.weights.fill(fresh);
    return program;
  }

  /** Frees a program that is not needed again. */
  release(program: Program): void {
    this.#programs.delete(program);
    program.destroy();
  }

  /** Widths among `widths` whose rows have the bits that they have alone, measured on this device once for each. */
  async exactWidths(widths: readonly number[]): Promise<ReadonlySet<number>> {
    const unknown = widths.filter((width) => !this.#exactWidths.has(width));
    if (unknown.length > 0) {
      const exact = await exactWidths(this, unknown);
      for (const width of unknown) this.#exactWidths.set(width, exact.has(width));
    }
    return new Set(widths.filter((width) => this.#exactWidths.get(width)));
  }

  /** Widths that were withdrawn because a row's bits depended on its company. */
  get withdrawnWidths(): readonly number[] {
    return [...this.#exactWidths].filter(([, exact]) => !exact).map(([width]) => width);
  }

  /** Frees the programs' own memory and the weights; conversations must be closed first. */
  destroy(): void {
    for (const program of this.#programs) program.destroy();
    this.#options.weights.store.destroy();
  }

  #loopStateList(): readonly State[] {
    const { loop, history, sampling } = this.loop;
    return [loop, history, sampling.settings, sampling.counts];
  }

  /** What each drafter keeps of a conversation. */
  #drafterStates(): readonly (readonly State[])[] {
    const speculations = [...this.#speculations.values()].flatMap((byDrafter) => [...byDrafter.values()]);
    return speculations.flatMap(({ drafterState }) => (drafterState ? [drafterState.states] : []));
  }

  #reckon(): void {
    const { memoryLimitBytes } = this.#options;
    const { weightBytes, stateBytes, scratchBytes, totalBytes } = this.memory;
    const binding = this.device.limits.maxStorageBufferBindingSize;
    const states = [...this.state.states, ...this.#drafterStates().flat()];
    const largest = states.sort((a, b) => b.byteLength - a.byteLength)[0];
    if (largest && largest.byteLength > binding) {
      throw new DeviceLimitError(
        `A capacity of ${this.capacityTokens} tokens needs ${largest.byteLength} bytes in state "${largest.name}", and this device binds at most ${binding}. Ask for a smaller capacity or an f16 cache.`,
      );
    }
    if (memoryLimitBytes !== undefined && totalBytes > memoryLimitBytes) {
      throw new DeviceLimitError(
        `The model needs ${totalBytes} device bytes (weights ${weightBytes}, one conversation of ${this.capacityTokens} tokens ${stateBytes}, scratch ${scratchBytes}), and the limit is ${memoryLimitBytes}. Use a smaller weight format or capacity.`,
      );
    }
  }
}

function bytesOf(states: Iterable<State>): number {
  return [...states].reduce((sum, { byteLength }) => sum + byteLength, 0);
}
