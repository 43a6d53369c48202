/** Holds a variant of attention to dense attention in float64, and its passes to each other bit for bit. */
import type { Device, HostArray } from '@forerun/tensor';
import { MismatchError, relativeError } from '@forerun/tensor/harness';
import type { Attention, AttentionLayer } from '../attention.ts';
import { AttentionConversation, tokenHeads, treePaths } from './attention-conversation.ts';

/** Which query looks at which key; positions count from 0. */
export interface AttentionPair {
  readonly query: number;
  readonly key: number;
  readonly head: number;
  readonly layer: number;
}

/** A variant, what it should compute, and how close. */
export interface HeldAttention {
  readonly attention: Attention;
  /** Layers without sinks; a small set of those that the variant distinguishes. */
  readonly layers: readonly AttentionLayer[];
  /** Query heads, H. */
  readonly heads: number;
  /**
   * What becomes of a score before the softmax: `-Infinity` hides a key. Given is the score as the layer says: dot product, scale and
   * softcap, hidden outside of the layer's window. The score itself by default.
   */
  readonly score?: (score: number, pair: AttentionPair) => number;
  /** Largest `‖out - ref‖ / ‖ref‖` of a row; 1e-5 by default, which an f32 cache holds. */
  readonly tolerance?: number;
  readonly cache?: 'f32' | 'f16';
}

/** Tokens of the chain that is cut up. */
const chainTokens = 40;
/** Rows of a pass of it. The first two are sizes of the decode path, on which a row has the same bits in any company. */
const chunks = [1, 7, 32] as const;
const prompt = Array.from({ length: 10 }, (_, i) => i);

/** Dense attention over a sequence in float64: rows `[H * Ev]` of one layer. */
function denseRows(tokens: readonly number[], index: number, held: HeldAttention): Float64Array[] {
  const { layers, heads, score = (one) => one } = held;
  const layer = layers[index]!;
  const { kvHeads, headDim, valueDim = headDim, scale = headDim ** -0.5, softcap, window = Infinity } = layer;
  const all = tokens.map((token) => tokenHeads(token, layer, heads));
  return all.map(({ q }, query) => {
    const row = new Float64Array(heads * valueDim);
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor(head / (heads / kvHeads));
      const scores = all.slice(0, query + 1).map(({ k }, key) => {
        let dot = 0;
        for (let e = 0; e < headDim; e++) dot += q[head * headDim + e]! * k[kv * headDim + e]!;
        const scaled = softcap === undefined ? dot * scale : softcap * Math.tanh((dot * scale) / softcap);
        return score(key > query - window ? scaled : -Infinity, { query, key, head, layer: index });
      });
      const peak = Math.max(...scores);
      const weights = scores.map((one) => Math.exp(one - peak));
      const total = weights.reduce((sum, one) => sum + one, 0);
      weights.forEach((weight, key) => {
        for (let e = 0; e < valueDim; e++) {
          row[head * valueDim + e]! += (weight / total) * all[key]!.v[kv * valueDim + e]!;
        }
      });
    }
    return row;
  });
}

/** Row `index` of what each layer gave. */
const rowOf = (outputs: readonly HostArray[], index: number, count: number) =>
  outputs.map((output) => output.slice((index * output.length) / count, ((index + 1) * output.length) / count));

function expectSameBits(what: string, got: readonly HostArray[], expected: readonly HostArray[]): void {
  const bits = (array: HostArray) => new Uint32Array(array.buffer, array.byteOffset, array.length);
  got.forEach((array, layer) => {
    const wanted = bits(expected[layer]!);
    const off = bits(array).findIndex((word, i) => word !== wanted[i]);
    if (off < 0) return;
    throw new MismatchError(
      `${what}, layer ${layer}, element ${off}: expected the bits of ${expected[layer]![off]}, got ${array[off]}.`,
    );
  });
}

/**
 * Runs a variant over made-up tokens on the device and holds it to dense float64 attention: a chain in passes of 1, 7 and 32 rows. Then
 * bit for bit: passes of the decode path to each other; the rows of a tree, and what is kept of it, to the chain that it stands for;
 * a state that went back to one that never went further; a pass with padding to one without.
 *
 * @throws {@link MismatchError} naming the pass and the row, or what was not kept as it should be.
 */
export async function holdAttention(device: Device, held: HeldAttention): Promise<void> {
  const conversations: AttentionConversation[] = [];
  const open = () => {
    const sizes = { capacityTokens: chainTokens + 10, rollbackTokens: chainTokens };
    conversations.push(new AttentionConversation(device, { ...held, ...sizes }));
    return conversations.at(-1)!;
  };
  try {
    await holdChains(held, open);
    await holdRewinding(open);
  } finally {
    for (const one of conversations) one.destroy();
  }
}

/** Passes of a chain against float64, and those of the decode path against each other. */
async function holdChains(held: HeldAttention, open: () => AttentionConversation): Promise<void> {
  const { tolerance = 1e-5 } = held;
  const chain = Array.from({ length: chainTokens }, (_, i) => i);
  const dense = held.layers.map((_, layer) => denseRows(chain, layer, held));
  const byChunk: HostArray[][][] = [];
  for (const chunk of chunks) {
    const conversation = open();
    const rows: HostArray[][] = [];
    for (let at = 0; at < chainTokens; at += chunk) {
      const tokens = chain.slice(at, at + chunk);
      const outputs = await conversation.run({ tokens, length: at });
      rows.push(...tokens.map((_, row) => rowOf(outputs, row, tokens.length)));
    }
    rows.forEach((outputs, row) =>
      outputs.forEach((output, layer) => {
        const error = relativeError(output, dense[layer]![row]!);
        if (error <= tolerance) return;
        throw new MismatchError(
          `Passes of ${chunk} rows, row ${row}, layer ${layer}: relative error ${error.toExponential(2)} against float64 is above ${tolerance}.`,
        );
      }),
    );
    byChunk.push(rows);
  }
  const [alone, few] = byChunk as [HostArray[][], HostArray[][]];
  few.forEach((outputs, row) => expectSameBits(`Passes of 7 rows, row ${row}`, outputs, alone[row]!));
}

/** Trees, lengths gone back to and padding against a plain chain. */
async function holdRewinding(open: () => AttentionConversation): Promise<void> {
  const afterPrompt = async () => {
    const conversation = open();
    await conversation.run({ tokens: prompt, length: 0 });
    return conversation;
  };
  const next = { tokens: [23], length: 13 };
  const straight = await afterPrompt();
  const expected = await straight.run({ tokens: [20, 21, 22], length: 10 });
  const then = await straight.run(next);

  const tree = await afterPrompt();
  const parents = [0, 0, 0, 1, 2, 3];
  const accepted = treePaths(parents)[4]!;
  const verified = await tree.run({ tokens: [20, 90, 21, 91, 22, 92], parents, length: 10, accepted });
  accepted.forEach((row, i) => expectSameBits(`Row ${row} of a tree`, rowOf(verified, row, 6), rowOf(expected, i, 3)));
  expectSameBits('A pass behind a committed tree', await tree.run(next), then);

  const undone = await afterPrompt();
  await undone.run({ tokens: [70, 71, 72, 73], length: 10 });
  const again = await undone.run({ tokens: [20, 21, 22], length: 10, goBack: true });
  expectSameBits('A pass of a state that went back', again, expected);

  const padded = await afterPrompt();
  const some = await padded.run({ tokens: [20, 21, 22, 60, 61], length: 10, count: 3 });
  for (let row = 0; row < 3; row++) {
    expectSameBits(`Row ${row} of a pass with padding`, rowOf(some, row, 5), rowOf(expected, row, 3));
  }
  expectSameBits('A pass behind one with padding', await padded.run(next), then);
}
