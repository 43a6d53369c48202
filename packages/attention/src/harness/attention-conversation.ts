import type { DecoderStateOptions, Rows } from '@forerun/contracts';
import type { Device, Graph, HostArray, Program, Tensor } from '@forerun/tensor';
import { Commands, compile, StateBuffers, trace } from '@forerun/tensor';
import { randomSource } from '@forerun/tensor/harness';
import type { Attention, AttentionLayer, AttentionState } from '../attention.ts';

/** Heads of one token in every layer, from its id alone: queries `[H, E]`, keys `[K, E]`, values `[K, Ev]`, row-major. */
export function tokenHeads(token: number, layer: AttentionLayer, heads: number): Record<'q' | 'k' | 'v', number[]> {
  const { kvHeads, headDim, valueDim = headDim } = layer;
  const random = randomSource(token + 1);
  const draw = (count: number) => Array.from({ length: count }, () => Math.fround(random.normal()));
  return { q: draw(heads * headDim), k: draw(kvHeads * headDim), v: draw(kvHeads * valueDim) };
}

/** One pass over a variant's state. */
export interface AttentionPass {
  /** Any numbers: {@link tokenHeads} makes queries, keys and values of them. */
  readonly tokens: readonly number[];
  /** Tokens in the state before the pass. */
  readonly length: number;
  /** Rows in use; all by default. */
  readonly count?: number;
  /** Parent of each row, for a tree. */
  readonly parents?: readonly number[];
  /** Rows to keep afterwards, the first one included. */
  readonly accepted?: readonly number[];
  /** Whether the state goes back to `length` before the pass. */
  readonly goBack?: boolean;
}

/** One input of a pass's program. */
interface PassNumbers {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: 'u32' | 'f32';
  readonly data: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;
}

/** What a conversation is held over. */
export interface AttentionConversationOptions extends Partial<DecoderStateOptions> {
  readonly attention: Attention;
  readonly layers: readonly AttentionLayer[];
  /** Query heads, H. */
  readonly heads: number;
  readonly capacityTokens: number;
}

/** One conversation over a variant of attention, without a model: passes of made-up tokens through every layer. */
export class AttentionConversation {
  readonly state: AttentionState;
  readonly #device: Device;
  readonly #options: AttentionConversationOptions;
  readonly #buffers: StateBuffers;
  readonly #programs = new Map<string, Program>();

  constructor(device: Device, options: AttentionConversationOptions) {
    const { attention, layers, capacityTokens, rollbackTokens = 0 } = options;
    this.#device = device;
    this.#options = options;
    this.state = attention(layers, capacityTokens, { ...options, rollbackTokens });
    this.#buffers = new StateBuffers(device, this.state.states);
  }

  /** Runs a pass and returns what each layer gives, `[M, H, Ev]`, row-major. */
  async run(pass: AttentionPass): Promise<readonly HostArray[]> {
    const { tokens, length } = pass;
    const { layers } = this.#options;
    const numbers = this.#numbersOf(pass);
    const shape = JSON.stringify([numbers.map(({ shape }) => shape), pass.parents !== undefined, pass.goBack === true]);
    const program =
      this.#programs.get(shape) ?? (await compile(this.#trace(pass), { device: this.#device, name: 'pass' }));
    this.#programs.set(shape, program);
    for (const { name, data } of numbers) program.write(name, data);
    const commands = new Commands(this.#device).run(program, {
      states: this.#buffers,
      bound: length + tokens.length,
    });
    const reads = layers.map((_, layer) => commands.read(program, `${layer}`));
    commands.submit();
    return Promise.all(reads);
  }

  /** Frees the conversation's memory. */
  destroy(): void {
    for (const program of this.#programs.values()) program.destroy();
    this.#buffers.destroy();
  }

  /** The first `tokens` slots of every state. */
  async kept(tokens: number): Promise<readonly HostArray[]> {
    return Promise.all(
      this.state.states.map((state) => this.#buffers.read(state, 0, tokens * state.shape[1]! * state.shape[2]!)),
    );
  }

  /** What a pass is told from the host: every input of its program. */
  #numbersOf({ tokens, length, count = tokens.length, parents, accepted }: AttentionPass): readonly PassNumbers[] {
    const { layers, heads } = this.#options;
    const M = tokens.length;
    const paths = parents && treePaths(parents);
    const maxDepth = Math.max(1, ...(paths ?? []).map((path) => path.length));
    const u32 = (name: string, data: readonly number[], shape: readonly number[] = [data.length]): PassNumbers => ({
      name,
      shape,
      dtype: 'u32',
      data: Uint32Array.from(data),
    });
    const depths = tokens.map((_, row) => length + (paths ? paths[row]!.length - 1 : row));
    const numbers = [
      u32('tokens', tokens),
      u32('depths', depths),
      u32(
        'slots',
        tokens.map((_, row) => length + row),
      ),
      u32('count', [count]),
      u32('length', [length]),
    ];
    if (paths) {
      const table = paths.flatMap((path) => Array.from({ length: maxDepth }, (_, at) => length + (path[at] ?? 0)));
      numbers.push(u32('path', table, [M, maxDepth]));
    }
    if (accepted) {
      numbers.push(u32('accepted', [...accepted, ...Array.from({ length: M - accepted.length }, () => 0)]));
      numbers.push(u32('kept', [accepted.length]));
    }
    layers.forEach((layer, index) => {
      const all = tokens.map((token) => tokenHeads(token, layer, heads));
      for (const part of ['q', 'k', 'v'] as const) {
        const data = Float32Array.from(all.flatMap((token) => token[part]));
        const count = part === 'q' ? heads : layer.kvHeads;
        const shape = [M, count, data.length / M / count];
        numbers.push({ name: `${part}${index}`, shape, dtype: 'f32', data });
      }
    });
    return numbers;
  }

  #trace(pass: AttentionPass): Graph {
    return trace((graph) => {
      const given = new Map(
        this.#numbersOf(pass).map(({ name, shape, dtype }) => [name, graph.input(name, shape, dtype)]),
      );
      const input = (name: string): Tensor => given.get(name)!;
      const [depths, length, path] = [input('depths'), input('length'), given.get('path')];
      const places = { positions: depths, depths, slots: input('slots'), spans: depths.add(1) };
      const rows: Rows = { inputs: input('tokens'), ...places, count: input('count'), length, ...(path && { path }) };
      if (pass.goBack) this.state.truncate(length);
      this.#options.layers.forEach((_, index) => {
        const heads = { q: input(`q${index}`), k: input(`k${index}`), v: input(`v${index}`) };
        graph.output(`${index}`, this.state.attend(index, heads, rows));
      });
      if (!pass.accepted) return;
      this.state.commit({ path: input('accepted'), count: input('kept'), length, tree: path !== undefined });
    });
  }
}

/** Rows from the first to each row itself, by a tree's parents. */
export function treePaths(parents: readonly number[]): readonly (readonly number[])[] {
  const paths: number[][] = [[0]];
  for (let row = 1; row < parents.length; row++) paths.push([...paths[parents[row]!]!, row]);
  return paths;
}
