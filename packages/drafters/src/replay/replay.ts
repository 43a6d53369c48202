import type { Drafter, DrafterState } from '@forerun/contracts';
import { loopBinding, loopWord, loopWords } from '@forerun/contracts';
import type { Operand } from '@forerun/tensor';
import {
  ArgumentError,
  defineKernel,
  defineOperation,
  philox,
  philoxWgsl,
  read,
  State,
  u32Array,
  u32Vectors,
  write,
} from '@forerun/tensor';

/** Entry of a recording that proposes nothing. */
export const unrecorded = 0xffff_ffff;

/** How a recording is replayed. */
export interface ReplayOptions {
  /** Probability with which a token is replaced by a wrong one; 0 by default. */
  readonly corruption?: number;
  /** Seed of those coins, an integer below 2^32; 0 by default. */
  readonly seed?: number;
}

/** The state of {@link replay}. */
export interface ReplayState extends DrafterState {
  /** `[capacity]` u32: the token that it guesses at each position; the host writes it. {@link unrecorded} where there is none. */
  readonly recording: State;
}

/** A drafter that replays a recording. */
export interface ReplayDrafter extends Drafter {
  /** Declares the state that holds the recording of one conversation. */
  state(capacityTokens: number): ReplayState;
}

interface ReplayAttributes {
  readonly width: number;
  readonly vocabSize: number;
  /** Coins below this are wrong tokens: the probability in units of 2^-32. */
  readonly threshold: number;
  readonly seed: number;
}

const replayKernel = defineKernel({
  name: 'replay',
  bindings: {
    recording: read('u32'),
    anchor: read('u32'),
    tokens: write('u32'),
    count: write('u32'),
    loopState: loopBinding,
  },
  wgsl: (c: ReplayAttributes & { capacity: number }) => /* wgsl */ `
${philoxWgsl}
var<workgroup> drafts: atomic<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let position = ${loopWord('length')} + lane;
  var token = ${unrecorded}u;
  if (position < ${c.capacity}u) { token = recording[position]; }
  if (lane == 0u) { atomicStore(&drafts, ${c.width}u); }
  workgroupBarrier();
  if (lane > 0u && token == ${unrecorded}u) { atomicMin(&drafts, lane); }
  let words = philox(vec4<u32>(position, 0u, 0u, 0u), vec2<u32>(${c.seed}u, 0u));
  if (words.x < ${c.threshold}u) { token = (token + 1u + words.y % ${Math.max(c.vocabSize - 1, 1)}u) % ${c.vocabSize}u; }
  workgroupBarrier();
  let used = atomicLoad(&drafts);
  if (lane == 0u) { token = anchor[0]; }
  if (lane >= used) { token = 0u; }
  if (lane < ${c.width}u) { tokens[lane] = token; }
  if (lane == 0u) { count[0] = used; }
}`,
});

const replayOperation = defineOperation<ReplayAttributes>({
  name: 'replay',
  infer: (_, { width }) => u32Vectors(width, 1),
  reference([recording, anchor, loop], { width, vocabSize, threshold, seed }) {
    const tokens = new Float64Array(width);
    tokens[0] = anchor!.data[0]!;
    let used = 1;
    for (; used < width; used++) {
      const position = loop!.data[loopWords.length]! + used;
      const token = recording!.data[position] ?? unrecorded;
      if (token === unrecorded) break;
      const [coin, step] = philox([position, 0, 0, 0], [seed, 0]);
      tokens[used] = coin < threshold ? (token + 1 + (step % Math.max(vocabSize - 1, 1))) % vocabSize : token;
    }
    return [u32Array(tokens), u32Array([used])];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [recording, anchor, loop] = operands as readonly [State, Operand, Operand];
    lowering.dispatch(replayKernel, {
      constants: { ...attributes, capacity: recording.shape[0]! },
      bindings: {
        recording: lowering.state(recording),
        anchor: lowering.tensor(anchor),
        loopState: lowering.state(loop),
        tokens: lowering.tensor(outputs[0]!),
        count: lowering.tensor(outputs[1]!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * Guesses what was written down beforehand, each token wrong with a given probability: acceptance at will, for tests and for
 * measuring what a round costs. The coin of a position is always the same. A wrong token never equals the recorded one.
 *
 * @throws {@link ArgumentError} for a corruption outside of 0 to 1 or a seed that is no u32
 */
export function replay(options: ReplayOptions = {}): ReplayDrafter {
  const { corruption = 0, seed = 0 } = options;
  if (!(corruption >= 0 && corruption <= 1))
    throw new ArgumentError(`replay: corruption is from 0 to 1, got ${corruption}.`);
  if (seed >>> 0 !== seed) throw new ArgumentError(`replay: seed is an integer from 0 to 2^32 - 1, got ${seed}.`);
  return {
    name: 'replay',
    needs: {},
    gives: { distribution: false },
    state(capacityTokens) {
      const recording = new State({
        name: 'replay recording',
        shape: [capacityTokens],
        dtype: 'u32',
        init: { fill: unrecorded },
      });
      return { recording, states: [recording], truncate: () => undefined, reachable: (length) => length };
    },
    prefill: () => undefined,
    propose(round, state) {
      const { width, decoder } = round;
      const threshold = Math.min(Math.round(corruption * 2 ** 32), 2 ** 32 - 1);
      const operands: Operand[] = [(state as ReplayState).recording, round.anchor, round.loop];
      const attributes = { width, vocabSize: decoder.vocabSize, threshold, seed };
      const [tokens, count] = round.length.graph.apply(replayOperation, operands, attributes);
      return { width, depth: width - 1, chain: true, tokens: tokens!, count: count! };
    },
    absorb: () => undefined,
  };
}
