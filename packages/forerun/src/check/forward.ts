/**
 * Runs a decoder over given tokens in chunks and gives the logits of every position: prefill and decode without a loop around
 * them, for holding a model to what another implementation computed.
 */
import type { Decoder, DecoderState, Rows } from '@forerun/contracts';
import {
  type Arithmetic,
  Commands,
  compile,
  type Device,
  type Graph,
  type Program,
  StateBuffers,
  trace,
  type WeightStore,
} from '@forerun/tensor';

/**
 * Traces a pass of `chunkTokens` rows over a chain: inputs `tokens`, `positions`, `spans`, `count`, `length`; output `logits`, and with
 * taps `normed` and, for the residual stream that enters layer k, `tap k`.
 */
export function traceChunk(
  decoder: Decoder,
  state: DecoderState,
  chunkTokens: number,
  { taps = [] }: { readonly taps?: readonly number[] } = {},
): Graph {
  return trace((graph) => {
    const perRow = (name: string) => graph.input(name, [chunkTokens], 'u32');
    const positions = perRow('positions');
    const rows: Rows = {
      inputs: perRow('tokens'),
      positions,
      depths: positions,
      slots: positions,
      spans: perRow('spans'),
      count: graph.input('count', [1], 'u32'),
      length: graph.input('length', [1], 'u32'),
    };
    const passed = decoder.forward(rows, state, { taps });
    const normed = decoder.norm(passed.hidden);
    graph.output('logits', decoder.head(normed));
    if (taps.length > 0) graph.output('normed', normed);
    passed.taps.forEach((tap, index) => graph.output(`tap ${taps[index]}`, tap));
  });
}

/**
 * Tokens as the inputs of {@link traceChunk}, the rest of its rows as padding.
 *
 * @param place.start - Tokens before them in the sequence.
 * @param place.span - Length that rope scalings adapt to, if they follow the length.
 */
export function chunkInputs(
  tokens: Uint32Array,
  chunkTokens: number,
  place: { readonly start: number; readonly span: number },
): Readonly<Record<string, Uint32Array<ArrayBuffer>>> {
  const perRow = (value: (row: number) => number) => Uint32Array.from({ length: chunkTokens }, (_, row) => value(row));
  return {
    tokens: perRow((row) => tokens[row] ?? 0),
    positions: perRow((row) => place.start + row),
    spans: perRow(() => place.span),
    count: Uint32Array.of(tokens.length),
    length: Uint32Array.of(place.start),
  };
}

/** Programs of a few chunk sizes over one decoder, and the state of one conversation at a time. */
export class ForwardRunner {
  readonly #device: Device;
  readonly #vocabSize: number;
  readonly #capacityTokens: number;
  readonly #programs: ReadonlyMap<number, Program>;
  #buffers: StateBuffers;
  #state: DecoderState;
  #length = 0;

  private constructor(
    parts: { device: Device; decoder: Decoder; state: DecoderState },
    programs: ReadonlyMap<number, Program>,
  ) {
    this.#device = parts.device;
    this.#vocabSize = parts.decoder.vocabSize;
    this.#state = parts.state;
    this.#capacityTokens = parts.state.capacityTokens;
    this.#programs = programs;
    this.#buffers = new StateBuffers(this.#device, this.#state.states);
  }

  /**
   * Compiles a program for each chunk size. Weights are placed in `weights`, and have to be uploaded before the first run.
   *
   * @param options.arithmetic - As `compile` takes it; it reaches chunks of at most 64 rows.
   */
  static async compile(
    device: Device,
    model: { readonly decoder: Decoder; readonly weights: WeightStore },
    options: {
      readonly chunkSizes: readonly number[];
      readonly capacityTokens: number;
      readonly arithmetic?: Arithmetic;
    },
  ): Promise<ForwardRunner> {
    const { decoder, weights } = model;
    const { arithmetic = 'f32' } = options;
    const state = decoder.state(options.capacityTokens, {
      rollbackTokens: 0,
      passTokens: Math.max(...options.chunkSizes),
      cache: 'f32',
      name: 'forward',
    });
    const programs = new Map<number, Program>();
    for (const size of new Set(options.chunkSizes)) {
      const graph = traceChunk(decoder, state, size);
      programs.set(size, await compile(graph, { device, name: `forward ${size}`, weights, arithmetic }));
    }
    weights.allocate();
    return new ForwardRunner({ device, decoder, state }, programs);
  }

  /** Forgets everything and begins a new sequence. */
  reset(): void {
    this.#buffers.destroy();
    this.#buffers = new StateBuffers(this.#device, this.#state.states);
    this.#length = 0;
  }

  /**
   * Appends tokens to the sequence in chunks of `chunkTokens`, and returns the logits `[T, V]` of each of them. Rope scalings that follow
   * the length adapt to the sequence with all of the tokens.
   */
  async append(tokens: Uint32Array, chunkTokens: number): Promise<Float32Array> {
    const program = this.#programs.get(chunkTokens)!;
    const logits = new Float32Array(tokens.length * this.#vocabSize);
    const span = this.#length + tokens.length;
    for (let begin = 0; begin < tokens.length; begin += chunkTokens) {
      const chunk = tokens.subarray(begin, begin + chunkTokens);
      const inputs = chunkInputs(chunk, chunkTokens, { start: this.#length, span });
      for (const [name, data] of Object.entries(inputs)) program.write(name, data);
      const commands = new Commands(this.#device).run(program, { states: this.#buffers, bound: this.#capacityTokens });
      const read = commands.read(program, 'logits');
      commands.submit();
      logits.set((await read).subarray(0, chunk.length * this.#vocabSize), begin * this.#vocabSize);
      this.#length += chunk.length;
    }
    return logits;
  }

  /** Frees states and programs; the weights are the caller's. */
  destroy(): void {
    this.#buffers.destroy();
    for (const program of this.#programs.values()) program.destroy();
  }
}
