/**
 * A decoder without weights: the logits after a token are a hash of it and the two tokens before it. Its cache is the tokens
 * themselves, so a wrong slot, path, length or compaction shows in the output at once.
 */
import type { Decoder, DecoderState, Rows } from '@forerun/contracts';
import type { Binding, BufferView, NdArray, Operand, Tensor } from '@forerun/tensor';
import {
  ArgumentError,
  copyRows,
  defineKernel,
  defineOperation,
  philox,
  philoxWgsl,
  read,
  State,
  write,
  writeRows,
} from '@forerun/tensor';

/** What a toy says. */
export interface ToyOptions {
  readonly vocabSize: number;
  /** Seed of its language. */
  readonly seed: number;
  /** Logits lie in 0 ..< this. */
  readonly scale?: number;
  /** Added in proportion: a second hash, by which a draft differs from its target. */
  readonly mistakes?: number;
  /** Tokens (of three) that a logit depends on. */
  readonly order?: 1 | 2 | 3;
}

interface ToyAttributes extends Required<ToyOptions> {
  readonly width: number;
  readonly maxDepth: number;
}

const noToken = 0xffff_ffff;

const lookups = {
  chain: 'return cache[index];',
  tree: 'if (index < length[0]) { return cache[index]; }\n  return cache[path[row * MAX_DEPTH + index - length[0]]];',
};

const logitsKernel = (kind: keyof typeof lookups) =>
  defineKernel<ToyAttributes, string>({
    name: `toy-logits-${kind}`,
    bindings: {
      depths: read('u32'),
      length: read('u32'),
      cache: read('u32'),
      y: write('f32'),
      ...(kind === 'tree' ? { path: read('u32') } : {}),
    } as Record<string, Binding>,
    wgsl: (c) => /* wgsl */ `
${philoxWgsl}
fn at(row: u32, index: u32) -> u32 {
  ${lookups[kind].replace('MAX_DEPTH', `${c.maxDepth}u`)}
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= ${c.width * c.vocabSize}u || length[0] == ${noToken}u) { return; }
  let row = id.x / ${c.vocabSize}u;
  let token = id.x % ${c.vocabSize}u;
  var key = vec3<u32>(${noToken}u);
  for (var back = 0u; back < min(${c.order}u, depths[row] + 1u); back++) { key[back] = at(row, depths[row] - back); }
  let counter = vec4<u32>(token / 4u, key);
  let own = uniformOf(philox(counter, vec2<u32>(${c.seed}u, 0u))[token % 4u]);
  let wrong = uniformOf(philox(counter, vec2<u32>(${c.seed}u, 1u))[token % 4u]);
  y[id.x] = ${c.scale}f * own + ${c.mistakes}f * wrong;
}`,
  });

/** Order of operands: depths, length, cache, path for a tree. */
const logitsOperation = defineOperation<ToyAttributes>({
  name: 'toy-logits',
  infer: (_, { width, vocabSize }) => [{ shape: [width, vocabSize], dtype: 'f32' }],
  reference([depths, length, cache, path], { width, maxDepth, vocabSize, order, seed, scale, mistakes }) {
    const at = (row: number, index: number) => {
      const below = index - length!.data[0]!;
      return cache!.data[path && below >= 0 ? path.data[row * maxDepth + below]! : index] ?? 0;
    };
    const uniform = (counter: readonly [number, number, number, number], stream: number, lane: number) =>
      (philox(counter, [seed, stream])[lane]! >>> 8) / 2 ** 24;
    const data = Float64Array.from({ length: width * vocabSize }, (_, i) => {
      const [row, token] = [Math.floor(i / vocabSize), i % vocabSize];
      const depth = depths!.data[row]!;
      const key = [0, 1, 2].map((back) => (back < Math.min(order, depth + 1) ? at(row, depth - back) : noToken));
      const counter = [token >>> 2, ...key] as unknown as readonly [number, number, number, number];
      return scale * uniform(counter, 0, token % 4) + mistakes * uniform(counter, 1, token % 4);
    });
    return [{ shape: [width, vocabSize], dtype: 'f32', data } satisfies NdArray];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [depths, length, cache, path] = operands;
    lowering.dispatch(logitsKernel(path ? 'tree' : 'chain'), {
      constants: attributes,
      bindings: {
        depths: lowering.tensor(depths!),
        length: lowering.tensor(length!),
        cache: lowering.state(cache!),
        y: lowering.tensor(outputs[0]!),
        ...(path ? { path: lowering.tensor(path) } : {}),
      } as Record<string, BufferView>,
      workgroups: [Math.ceil((attributes.width * attributes.vocabSize) / 64), 1, 1],
    });
  },
});

/** The toy's memory. */
interface ToyState extends DecoderState {
  readonly cache: State;
}

/** Makes a toy; hidden states are its logits, so that norm and head do nothing. */
export function toyDecoder(options: ToyOptions): Decoder {
  const toy: Required<ToyOptions> = { scale: 8, mistakes: 0, order: 3, ...options };
  const { vocabSize } = toy;
  return {
    vocabSize,
    hiddenSize: vocabSize,
    layerCount: 1,
    maxPositions: 4096,
    branching: true,
    state(capacityTokens, { name = 'toy' }): ToyState {
      const cache = new State({ name: `${name} cache`, shape: [capacityTokens, 1], dtype: 'u32' });
      return {
        cache,
        states: [cache],
        capacityTokens,
        truncate: () => undefined,
        reachable: (length) => length,
        commit({ path, count, length, tree }) {
          if (!tree) return;
          const rows = path.graph.constant(Uint32Array.from({ length: path.shape[0]! }, (_, row) => row));
          copyRows(cache, path.add(length), rows.add(length), count);
        },
      };
    },
    embed: (tokens) =>
      tokens
        .to('f32')
        .reshape([-1, 1])
        .mul(tokens.graph.constant(new Float32Array(vocabSize), [1, vocabSize])),
    forward(rows: Rows, state, { taps = [] } = {}) {
      if (rows.inputs.dtype !== 'u32') throw new ArgumentError('The toy decoder takes tokens, not embeddings.');
      const { cache } = state as ToyState;
      writeRows(cache, rows.inputs.reshape([-1, 1]), { slots: rows.slots, count: rows.count });
      const operands: Operand[] = [rows.depths, rows.length, cache];
      if (rows.path) operands.push(rows.path);
      const attributes = { ...toy, width: rows.inputs.shape[0]!, maxDepth: rows.path?.shape[1] ?? 1 };
      const hidden: Tensor = rows.inputs.graph.apply(logitsOperation, operands, attributes)[0]!;
      return { hidden, taps: taps.map(() => hidden) };
    },
    norm: (hidden) => hidden,
    head: (normed) => normed,
  };
}
