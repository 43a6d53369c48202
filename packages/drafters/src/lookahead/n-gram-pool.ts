import type { NdArray, State, Tensor } from '@forerun/tensor';
import { defineKernel, defineOperation, read, readWrite } from '@forerun/tensor';
import { type LookaheadSizes, poolStride } from './lookahead-sizes.ts';

type PoolSizes = Pick<LookaheadSizes, 'ngram' | 'guesses'>;

/**
 * One invocation an n-gram; the first of those with the same first token puts all of them in, one after the other, so that their
 * order counts and no two invocations write to the same token's n-grams.
 */
const insertKernel = defineKernel({
  name: 'insert-n-grams',
  bindings: { pool: readWrite('u32'), entries: read('u32') },
  wgsl: (c: { entries: number; vocabSize: number; ngram: number; guesses: number; stride: number }) => /* wgsl */ `
fn isSame(slot: u32, entry: u32) -> bool {
  for (var i = 0u; i < ${c.ngram - 1}u; i++) {
    if (pool[slot + i] != entries[entry * ${c.ngram}u + 1u + i]) { return false; }
  }
  return true;
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let first = id.x;
  if (first >= ${c.entries}u) { return; }
  let key = entries[first * ${c.ngram}u];
  if (key >= ${c.vocabSize}u) { return; }
  for (var before = 0u; before < first; before++) {
    if (entries[before * ${c.ngram}u] == key) { return; }
  }
  let begin = key * ${c.stride}u + 1u;
  for (var entry = first; entry < ${c.entries}u; entry++) {
    if (entries[entry * ${c.ngram}u] != key) { continue; }
    var known = min(pool[begin - 1u], ${c.guesses}u);
    var slot = 0u;
    while (slot < known && !isSame(begin + slot * ${c.ngram - 1}u, entry)) { slot++; }
    if (slot == known && known < ${c.guesses}u) {
      known++;
      pool[begin - 1u] = known;
    } else if (slot == known) {
      slot = 0u;
    }
    let last = begin + (known - 1u) * ${c.ngram - 1}u;
    for (var at = begin + slot * ${c.ngram - 1}u; at < last; at++) { pool[at] = pool[at + ${c.ngram - 1}u]; }
    for (var i = 0u; i < ${c.ngram - 1}u; i++) { pool[last + i] = entries[entry * ${c.ngram}u + 1u + i]; }
  }
}`,
});

/** Puts an n-gram into a pool on the host. */
function insert(pool: NdArray, ngram: readonly number[], { guesses }: PoolSizes): void {
  const [vocabSize, stride] = pool.shape as [number, number];
  const [key, ...tokens] = ngram as [number, ...number[]];
  if (key >= vocabSize) return;
  const row = pool.data.subarray(key * stride, (key + 1) * stride);
  let known = Array.from({ length: row[0]! }, (_, slot) =>
    Array.from(row.subarray(1 + slot * tokens.length, 1 + (slot + 1) * tokens.length)),
  );
  known = known.filter((other) => !other.every((token, i) => token === tokens[i]));
  known = [...known, tokens].slice(-guesses);
  row[0] = known.length;
  row.set(known.flat(), 1);
}

/** Operands: pool, entries. */
const insertOperation = defineOperation<PoolSizes>({
  name: 'insert-n-grams',
  writes: [0],
  infer: () => [],
  reference([pool, entries], sizes) {
    for (let entry = 0; entry < entries!.shape[0]!; entry++) {
      const ngram = entries!.data.subarray(entry * sizes.ngram, (entry + 1) * sizes.ngram);
      insert(pool!, Array.from(ngram), sizes);
    }
    return [];
  },
  lower(lowering, { operands, attributes: { ngram, guesses } }) {
    const [pool, entries] = operands as readonly [State, Tensor];
    const [vocabSize, stride] = pool.shape as [number, number];
    const count = entries.shape[0]!;
    lowering.dispatch(insertKernel, {
      constants: { entries: count, vocabSize, ngram, guesses, stride },
      bindings: { pool: lowering.state(pool), entries: lowering.tensor(entries) },
      workgroups: [Math.ceil(count / 64), 1, 1],
    });
  },
});

/**
 * Puts n-grams into a pool, in order: one that is known moves to the end, and where a token has as many as fit, the least recently seen
 * goes.
 *
 * @param pool - `[V, stride]` u32: for each first token how many n-grams it has, then their other tokens
 * @param entries - `[E, N]` u32; one whose first token is no id is passed over
 */
export function insertNGrams(
  pool: State,
  entries: Tensor,
  sizes: { readonly ngram: number; readonly guesses: number },
): void {
  const { ngram, guesses } = sizes;
  entries.graph.apply(insertOperation, [pool, entries], { ngram, guesses });
}

/** `[V, stride]` u32: an empty pool. */
export function poolShape(vocabSize: number, sizes: LookaheadSizes): readonly [number, number] {
  return [vocabSize, poolStride(sizes)];
}
