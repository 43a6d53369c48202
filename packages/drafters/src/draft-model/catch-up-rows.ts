import { loopBinding, loopWord, loopWords } from '@forerun/contracts';
import type { State, Tensor } from '@forerun/tensor';
import { defineKernel, defineOperation, read, slice, u32Array, u32Vectors, write } from '@forerun/tensor';

/** Tokens of the history that a draft model's cache lacks, as rows of its next pass, and the positions of the steps behind them. */
export interface CatchUpRows {
  /** `[C]` u32. */
  readonly tokens: Tensor;
  /** `[C]` u32: position, logical index and slot at once. */
  readonly positions: Tensor;
  /** `[C]` u32: length that length-dependent rope scaling adapts to. */
  readonly spans: Tensor;
  /** `[1]` u32: rows in use. */
  readonly count: Tensor;
  /** `[1]` u32: tokens in the draft's cache. */
  readonly begin: Tensor;
  /** `[1]` u32: last row in use. */
  readonly last: Tensor;
  /** `[1]` u32: 1 if the rows reach the end of the history, else 0. */
  readonly ready: Tensor;
  /** `[1]` u32: rows of the tree, the anchor included: all if `ready`, else 1. */
  readonly used: Tensor;
  /** `[1]` u32 each: the anchor's position plus 0 ..= width. */
  readonly steps: readonly Tensor[];
}

interface CatchUpAttributes {
  /** Whether rows go up to the anchor, up to the token before it, or up to the end of the prompt's prefill. */
  readonly until: 'anchor' | 'before-anchor' | 'prompt';
  readonly rows: number;
  /** Rows of the tree; 0 in prefill. */
  readonly width: number;
}

// Single numbers lie 256 bytes apart, so that each can be bound alone and slicing costs nothing.
const stride = 64;
const scalars = 5;

const endWgsl = {
  anchor: `${loopWord('length')} + 1u`,
  'before-anchor': loopWord('length'),
  prompt: loopWord('prefillEnd'),
};
const spanWgsl = { anchor: 'position + 1u', 'before-anchor': 'position + 1u', prompt: 'end + 1u' };

const catchUpKernel = defineKernel({
  name: 'draft-catch-up',
  bindings: {
    history: read('u32'),
    held: read('u32'),
    tokens: write('u32'),
    positions: write('u32'),
    spans: write('u32'),
    table: write('u32'),
    loopState: loopBinding,
  },
  wgsl: (c: CatchUpAttributes & { capacity: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let end = min(${endWgsl[c.until]}, ${c.capacity}u);
  let begin = min(held[0], end);
  let count = min(end - begin, ${c.rows}u);
  let ready = select(0u, 1u, begin + count == end);
  for (var row = lane; row < ${c.rows}u; row += 64u) {
    let position = begin + row;
    var token = 0u;
    if (row < count) { token = history[position]; }
    tokens[row] = token;
    positions[row] = position;
    spans[row] = ${spanWgsl[c.until]};
  }
  for (var i = lane; i < ${(scalars + c.width + 1) * stride}u; i += 64u) {
    let entry = i / ${stride}u;
    var value = ${loopWord('length')} + entry - ${scalars}u;
    switch (entry) {
      case 0u: { value = count; }
      case 1u: { value = begin; }
      case 2u: { value = max(count, 1u) - 1u; }
      case 3u: { value = ready; }
      case 4u: { value = 1u + ready * ${Math.max(c.width - 1, 0)}u; }
      default: {}
    }
    table[i] = value;
  }
}`,
});

/** Order of operands: history, tokens held (state), loop. */
const catchUpOperation = defineOperation<CatchUpAttributes>({
  name: 'draft-catch-up',
  infer: (_, { rows, width }) => u32Vectors(rows, rows, rows, (scalars + width + 1) * stride),
  reference([history, held, loop], { until, rows, width }) {
    const length = loop!.data[loopWords.length]!;
    const ends = { anchor: length + 1, 'before-anchor': length, prompt: loop!.data[loopWords.prefillEnd]! };
    const end = Math.min(ends[until], history!.data.length);
    const begin = Math.min(held!.data[0]!, end);
    const count = Math.min(end - begin, rows);
    const ready = Number(begin + count === end);
    const positions = Array.from({ length: rows }, (_, row) => begin + row);
    const values = [count, begin, Math.max(count, 1) - 1, ready, 1 + ready * Math.max(width - 1, 0)];
    for (let step = 0; step <= width; step++) values.push(length + step);
    return [
      u32Array(positions.map((position, row) => (row < count ? history!.data[position]! : 0))),
      u32Array(positions),
      u32Array(positions.map((position) => (until === 'prompt' ? end : position) + 1)),
      u32Array(values.flatMap((value) => Array.from({ length: stride }, () => value))),
    ];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [history, held, loop] = operands as readonly [State, State, State];
    const [tokens, positions, spans, table] = outputs.map((output) => lowering.tensor(output)) as [
      never,
      never,
      never,
      never,
    ];
    lowering.dispatch(catchUpKernel, {
      constants: { ...attributes, capacity: history.shape[0]! },
      bindings: {
        history: lowering.state(history),
        held: lowering.state(held),
        loopState: lowering.state(loop),
        tokens,
        positions,
        spans,
        table,
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * The next tokens of the history that a draft model has not taken in, at most `rows` of them.
 *
 * @param held `[1]` u32 state: tokens in the draft's cache
 */
export function catchUpRows(
  near: Tensor,
  states: { readonly history: State; readonly loop: State; readonly held: State },
  attributes: CatchUpAttributes,
): CatchUpRows {
  const operands = [states.history, states.held, states.loop];
  const [tokens, positions, spans, table] = near.graph.apply(catchUpOperation, operands, attributes);
  const entry = (index: number) => slice(table!, 0, [index * stride, index * stride + 1]);
  return {
    tokens: tokens!,
    positions: positions!,
    spans: spans!,
    count: entry(0),
    begin: entry(1),
    last: entry(2),
    ready: entry(3),
    used: entry(4),
    steps: Array.from({ length: attributes.width + 1 }, (_, step) => entry(scalars + step)),
  };
}
