/** Drafters and verifiers that break the contract are told so by name, before a token is lost and whatever the width. */
import type { Accepted, Drafter, Round, TokenTree, Verifier } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { defineKernel, defineOperation, GpuValidationError, type Graph, write } from '@forerun/tensor';
import { sampleAndMatch } from '@forerun/verifiers';
import { afterAll, describe, expect, it } from 'vitest';
import { bushes, parrot } from './adversaries.ts';
import { small, smallEngine } from './small-engine.ts';

const engine = await smallEngine();
afterAll(() => engine.destroy());

const column = (graph: Graph, size: number) => graph.constant(new Uint32Array(size));

/** A drafter whose trees differ in some fields from those of another. */
function changed(drafter: Drafter, change: (tree: TokenTree, graph: Graph) => object): Drafter {
  const propose: Drafter['propose'] = (round, state) => {
    const tree = drafter.propose(round, state);
    return { ...tree, ...change(tree, round.length.graph) };
  };
  return { ...drafter, name: 'mine', propose };
}

/** A verifier whose verdicts differ in some fields from the exact one's. */
function judging(change: (accepted: Accepted) => object): Verifier {
  const exact = sampleAndMatch();
  const verify: Verifier['verify'] = (...given) => {
    const accepted = exact.verify(...given);
    return { ...accepted, ...change(accepted) };
  };
  return { ...exact, name: 'mine', verify };
}

describe('a tree that does not fit its round is refused when a conversation is opened', () => {
  it.each<[string, Drafter, RegExp]>([
    ['fewer rows', changed(parrot(), (_, graph) => ({ width: 4, tokens: column(graph, 4) })), /width.*8 rows.*got 4/],
    [
      'short tokens',
      changed(parrot(), (_, graph) => ({ tokens: column(graph, 4) })),
      /tokens.*u32 \[8\], got u32 \[4\]/,
    ],
    ['tokens as floats', changed(parrot(), ({ tokens }) => ({ tokens: tokens.to('f32') })), /tokens.*got f32 \[8\]/],
    ['no tokens', changed(parrot(), () => ({ tokens: undefined })), /tokens.*got none/],
    ['a count for each row', changed(parrot(), ({ tokens }) => ({ count: tokens })), /count.*u32 \[1\], got u32 \[8\]/],
    ['two numbers of candidates', changed(parrot(), (_, graph) => ({ candidates: column(graph, 2) })), /candidates/],
    ['no whole depth', changed(parrot(), () => ({ depth: undefined })), /depth.*got undefined/],
    ['no parents', changed(bushes(2), () => ({ parents: undefined })), /parents.*no chain.*got none/],
    ['no depths', changed(bushes(2), () => ({ depths: undefined })), /depths.*no chain.*got none/],
    ['short parents', changed(bushes(2), (_, graph) => ({ parents: column(graph, 3) })), /parents.*got u32 \[3\]/],
    [
      'a distribution of other tokens',
      changed(parrot(), (_, graph) => ({ distribution: graph.constant(new Float32Array(8), [8, 1]) })),
      /distribution.*f32 \[8, 6\], got f32 \[8, 1\]/,
    ],
  ])('%s', (_, drafter, message) => {
    const open = () => engine.open({ drafter });
    expect(open).toThrow(MismatchedPartsError);
    expect(open).toThrow(/^Drafter mine, /);
    expect(open).toThrow(message);
  });

  it('and so is a drafter that throws', () => {
    const broken = changed(parrot(), () => {
      throw new RangeError('my own');
    });
    expect(() => engine.open({ drafter: broken })).toThrow(RangeError);
  });
});

describe('a verdict that does not fit its tree is refused', () => {
  it.each<[string, Verifier, RegExp]>([
    ['a count as a float', judging(({ count }) => ({ count: count.to('f32') })), /count.*u32 \[1\], got f32 \[1\]/],
    ['a token for each row', judging(({ path }) => ({ next: path })), /next token.*u32 \[1\], got u32 \[8\]/],
    [
      'a short path',
      judging(({ path, count }) => ({ path: path.shape[0] === 1 ? path : count })),
      /path.*u32 \[8\], got u32 \[1\]/,
    ],
    ['no token', judging(() => ({ next: undefined })), /next token.*got none/],
  ])('%s', async (_, verifier, message) => {
    using conversation = engine.open({ drafter: parrot(), verifier });
    const steps = conversation.generate({ prompt: [1, 2, 3], maxTokens: 8, width: 8 });
    await expect(steps.next()).rejects.toThrow(message);
    expect(() => conversation.program(8)).toThrow(/^Verifier mine, /);
  });
});

/** A chain whose tokens a kernel should make that does not compile. */
function uncompilable(): Drafter {
  const kernel = defineKernel({
    name: 'typing-error',
    bindings: { tokens: write('u32') },
    wgsl: () => '@compute @workgroup_size(1) fn main() { tokens[0] = token; }',
  });
  const operation = defineOperation<{ readonly width: number }>({
    name: 'typing-error',
    infer: (_, { width }) => [{ shape: [width], dtype: 'u32' }],
    reference: (_, { width }) => [{ shape: [width], dtype: 'u32', data: new Float64Array(width) }],
    lower: (lowering, { outputs }) =>
      lowering.dispatch(kernel, {
        constants: {},
        bindings: { tokens: lowering.tensor(outputs[0]!) },
        workgroups: [1, 1, 1],
      }),
  });
  const propose = ({ width, length }: Round) => ({
    width,
    depth: width - 1,
    chain: true,
    count: column(length.graph, 1).add(1),
    tokens: length.graph.apply(operation, [length], { width })[0]!,
  });
  return { ...parrot(), name: 'mine', propose };
}

it('a kernel of a drafter that does not compile ends a run of any width', async () => {
  const drafter = uncompilable();
  const request = { prompt: [1, 2, 3], maxTokens: 100 };
  await expect(small(engine, drafter, { ...request, width: 4 })).rejects.toThrow(GpuValidationError);
  // The first rounds are plain ones, whose kernels are sound.
  using conversation = engine.open({ drafter });
  await expect(conversation.ready()).rejects.toThrow(/typing-error.*token/);
  await expect(small(engine, drafter, request)).rejects.toThrow(/typing-error.*token/);
});
