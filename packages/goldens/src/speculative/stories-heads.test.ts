/** The heads that ship for the story model: held to what PyTorch computes of the same folders, and drafting for it. */
import { type Checkpoint, folderSource, openCheckpoint } from '@forerun/checkpoints';
import type { DecoderState } from '@forerun/contracts';
import { blockHead, eagleHead, medusaHeads, mtpHead } from '@forerun/mtp';
import { loadModel } from '@forerun/models';
import { argmax, gatherRows, type Graph, type State, type Tensor } from '@forerun/tensor';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { stories, storiesBlock, storiesEagle, storiesMedusa, storiesMtp, type TinyCheckpoint } from '@forerun/tiny';
import { type DrafterName, load } from 'forerun';
import { fileURLToPath } from 'node:url';
import { CaseGraphs, chainRows, type OwnedWeights } from 'forerun/check';
import { afterAll, describe, expect, test } from 'vitest';
import { goldenCase } from './golden-case.ts';

const device = await testDevice();
const open = (tiny: TinyCheckpoint): Promise<Checkpoint> =>
  openCheckpoint(folderSource(fileURLToPath(tiny.url)), {
    weights: 'f32',
    file: tiny.files.find((file) => file.endsWith('.safetensors'))!,
  });

const checkpoint = await open(stories);
const { decoder, weights } = await loadModel(checkpoint);
const owner: OwnedWeights = { checkpoint, weights };
const golden = goldenCase('../stories/heads');
const { ids, columns, tokens } = golden.facts as unknown as {
  readonly ids: readonly number[];
  readonly columns: number;
  readonly tokens: Readonly<Record<string, readonly number[]>>;
};

/** Runs a piece of graph behind the target's pass over the story. */
async function behindStory(
  own: OwnedWeights,
  states: readonly State[],
  body: (graph: Graph, target: { hidden: Tensor; pass: ReturnType<typeof decoder.forward> }) => Record<string, Tensor>,
  taps: readonly number[] = [],
) {
  const cache = decoder.state(64, { rollbackTokens: 0 });
  const runner = new CaseGraphs(device, { owned: [owner, own], states: [...cache.states, ...states] });
  const outputs = await runner.run((graph) => {
    const pass = decoder.forward(chainRows(graph, ids, 0), cache, { taps });
    return body(graph, { hidden: decoder.norm(pass.hidden), pass });
  });
  runner.destroy();
  return outputs;
}

/** Holds rows of logits to the columns that were kept. */
async function agree(name: string, rows: readonly ArrayLike<number>[]): Promise<void> {
  const kept = rows.flatMap((row) => Array.from(row).filter((_, column) => column % columns === 0));
  const error = relativeError(kept, (await golden.tensor(`${name}.logits`)).data);
  console.info(`${name}: ${rows.length} rows, relative error ${error}`);
  expect(error).toBeLessThan(1e-4);
}

test('Medusa: logits of every head', async () => {
  const own = await open(storiesMedusa);
  const heads = medusaHeads(own, decoder);
  expect(heads.count).toBe(4);
  const out = await behindStory({ checkpoint: own, weights: heads.weights }, [], (graph, { hidden }) => {
    const last = gatherRows(hidden, graph.constant(Uint32Array.of(ids.length - 1)));
    return Object.fromEntries([0, 1, 2, 3].map((head) => [`${head}`, heads.logits(last, head)]));
  });
  await agree(
    'medusa',
    [0, 1, 2, 3].map((head) => out[head]!),
  );
});

describe.each([
  ['mtp', storiesMtp, mtpHead],
  ['eagle', storiesEagle, eagleHead],
] as const)('%s', (name, tiny, make) => {
  test('drafts on its own output as in training', async () => {
    const own = await open(tiny);
    const head = await make(own, decoder);
    const state = head.state(64, { rollbackTokens: 0 });
    const steps = tokens[name]!.length;
    const out = await behindStory(
      { checkpoint: own, weights: head.weights },
      state.states,
      (graph, { hidden, pass }) => {
        const known = ids.length - 1;
        const rows = graph.constant(Uint32Array.from({ length: known }, (_, row) => row));
        const features = gatherRows(head.features({ hidden, ...(pass.taps && { taps: pass.taps }) }), rows);
        const fed = head.forward(chainRows(graph, ids.slice(1), 0), features, state);
        const last = graph.constant(Uint32Array.of(known - 1));
        let step = { hidden: gatherRows(fed.hidden, last), recycled: gatherRows(fed.recycled, last) };
        const outputs: Record<string, Tensor> = {};
        for (let depth = 0; depth < steps; depth++) {
          const logits = head.logits(step.hidden);
          const token = argmax(logits);
          Object.assign(outputs, { [`logits ${depth}`]: logits, [`token ${depth}`]: token });
          if (depth < steps - 1) {
            step = head.forward(chainRows(graph, token, known + depth), step.recycled, state as DecoderState);
          }
        }
        return outputs;
      },
      head.needs.taps ?? [],
    );
    const depths = Array.from({ length: steps }, (_, depth) => depth);
    expect(depths.map((depth) => out[`token ${depth}`]![0])).toEqual(tokens[name]);
    await agree(
      name,
      depths.map((depth) => out[`logits ${depth}`]!),
    );
  });
});

test('block drafter: logits of a block', async () => {
  const own = await open(storiesBlock);
  const head = await blockHead(own, decoder);
  const state = head.state(64, { rollbackTokens: 0 });
  const out = await behindStory(
    { checkpoint: own, weights: head.weights },
    state.states,
    (graph, { pass }) => {
      const known = ids.length - 1;
      const rows = graph.constant(Uint32Array.from({ length: known }, (_, row) => row));
      const taps = pass.taps!.map((tap) => gatherRows(tap, rows));
      head.ingest(chainRows(graph, ids.slice(0, known), 0), { taps }, state);
      const block = [ids[known]!, ...Array.from({ length: head.blockSize - 1 }, () => head.maskToken)];
      const blockRows = chainRows(graph, block, known);
      const depths = graph.constant(new Uint32Array(head.blockSize).fill(known + head.blockSize - 1));
      return { logits: head.logits({ ...blockRows, depths }, state) };
    },
    head.needs.taps,
  );
  const size = out['logits']!.length / head.drafts;
  await agree(
    'block',
    Array.from({ length: head.drafts }, (_, row) => out['logits']!.slice(row * size, (row + 1) * size)),
  );
});

describe('through the front door', async () => {
  const heads = [storiesMtp, storiesMedusa, storiesEagle, storiesBlock];
  const model = await load(stories, { heads, device, capacityTokens: 64 });
  afterAll(() => model.close());
  const prompt = 'Once upon a time, there was a little girl named Lily. She';
  const plain = await Promise.all(
    [0, 0.8].map((temperature) => generate({ drafter: 'none', temperature, width: 1 }).then(({ tokens: all }) => all)),
  );

  function generate({ temperature, ...options }: { drafter?: DrafterName; temperature: number; width: number }) {
    const sampling = { temperature, seed: 5 };
    return model.generate(prompt, { ...options, sampling, maxTokens: 24, stopTokens: [] }).result;
  }

  test('the heads that were named first draft when nobody is named', async () => {
    expect(model.defaultDrafter).toBe('mtp');
    expect(model.drafters).toEqual(expect.arrayContaining(['mtp', 'medusa', 'eagle', 'block', 'n-gram']));
    const result = await generate({ temperature: 0, width: 4 });
    expect(result.drafter).toBe('mtp');
    expect(result.tokens).toEqual(plain[0]);
  });

  // Tokens a pass that heads reach at least on this story.
  test.each([
    ['mtp', 4, 1.8],
    ['medusa', 8, 1.6],
    ['eagle', 4, 1.5],
    ['block', 16, 1.6],
  ] as const)('%s at width %i gives the tokens of plain decoding in fewer passes', async (drafter, width, least) => {
    for (const [index, temperature] of [0, 0.8].entries()) {
      const { tokens: given, statistics } = await generate({ drafter, temperature, width });
      console.info(`${drafter} at temperature ${temperature}: ${statistics.acceptanceLength.toFixed(2)} a pass`);
      expect(given).toEqual(plain[index]);
      if (temperature === 0) expect(statistics.acceptanceLength).toBeGreaterThanOrEqual(least);
    }
  });
});
