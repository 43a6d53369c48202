/** Heads that guess from a hidden state: Medusa's and Hydra's. */
import type { ByteSource } from '@forerun/checkpoints';
import { candidateIndexes, hydra, leafPaths, staticTree, treeMask, type TreeShape } from '@forerun/drafters';
import { type HydraHeads, hydraHeads, medusaHeads } from '@forerun/mtp';
import { GoldenFileError } from '../golden-file.ts';
import { caseCheckpoint, caseConstant, CaseGraphs, type CaseModel, caseModel, chainRows } from './case-model.ts';
import { type LoopRun, LoopRunner } from './recorded-runs.ts';
import { firstDifference, listDifference, normDifference, type SpeculativeCase } from './speculative-case.ts';

/** The file of the Medusa heads `kind`, such as v1: the newest layout, v2, has the plain name. */
export function medusaFile(source: ByteSource, kind: string): Promise<string> {
  return headFile(source, kind === 'v2' ? ['medusa_lm_head', 'medusa_lm_head_v2'] : [`medusa_lm_head_${kind}`]);
}

async function headFile(source: ByteSource, stems: readonly string[]): Promise<string> {
  const files = stems.flatMap((stem) => ['safetensors', 'pt', 'bin'].map((suffix) => `${stem}.${suffix}`));
  for (const file of files) if (await source.exists(file)) return file;
  throw new GoldenFileError(`${source.describe()}: expected one of the files ${files.join(', ')}, got none.`);
}

/** Logits of Medusa heads in every published layout, and those of the target's own head. */
export async function medusaHeadLogits(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.beside('target-llama'));
  const hidden = await one.tensor('hidden');
  const recorded = one.names.filter((name) => name.endsWith('_logits'));
  return firstDifference(recorded, async (tensor) => {
    const kind = tensor.slice(0, -'_logits'.length);
    const checkpoint =
      kind === 'base' ? undefined : await caseCheckpoint(one.source, await medusaFile(one.source, kind));
    const heads = checkpoint && medusaHeads(checkpoint, model.decoder);
    const owned = heads ? [model, { checkpoint, weights: heads.weights }] : [model];
    const count = heads?.count ?? 1;
    const graphs = new CaseGraphs(one.device, { owned, bound: hidden.shape[0]! });
    try {
      const out = await graphs.run((graph) => {
        const rows = caseConstant(graph, hidden);
        return Object.fromEntries(
          Array.from({ length: count }, (_, head) => [
            `${head}`,
            heads ? heads.logits(rows, head) : model.decoder.head(rows),
          ]),
        );
      });
      return await normDifference(one, tensor, joined(out, count));
    } finally {
      graphs.destroy();
    }
  });
}

function joined(out: Readonly<Record<string, ArrayLike<number>>>, count: number): Float32Array {
  return Float32Array.from(Array.from({ length: count }, (_, head) => Array.from(out[`${head}`]!)).flat());
}

interface HydraRun extends LoopRun {
  readonly choices: readonly (readonly number[])[];
  readonly children_per_head: readonly (readonly number[])[];
  readonly children_to_expand_per_head: readonly (readonly number[])[];
}

/** Hydra heads: their logits, their trees' buffers, and whole runs. */
export async function hydraCase(one: SpeculativeCase): Promise<string | undefined> {
  const model = await caseModel(one.beside('target-llama'));
  const checkpoint = await caseCheckpoint(one.source, await headFile(one.source, ['hydra_lm_head']));
  const heads = hydraHeads(checkpoint, model.decoder, { targetConfig: await model.checkpoint.config() });
  const owned = [{ checkpoint, weights: heads.weights }];
  const runs = one.facts['runs'] as readonly HydraRun[];
  const parts =
    (await logitsDifference(one, { model, heads, owned })) ??
    (await firstDifference(runs, (run) => bufferDifference(one, run)));
  if (parts) return parts;
  const runner = await LoopRunner.open(one.device, model, { owned, runs });
  try {
    return await firstDifference(runs, (run) =>
      runner.difference(run, { drafter: hydra(heads, { tree: run.choices, children: 'most-likely' }) }),
    );
  } finally {
    runner.destroy();
  }
}

async function logitsDifference(
  one: SpeculativeCase,
  {
    model,
    heads,
    owned,
  }: { model: CaseModel; heads: HydraHeads; owned: ConstructorParameters<typeof CaseGraphs>[1]['owned'] },
): Promise<string | undefined> {
  const ids = (await one.tensor('input_ids')).data;
  const hidden = await one.tensor('hidden');
  const [count, rows] = (await one.tensor('head_logits')).shape as [number, number];
  if (heads.count !== count) return `heads: got ${heads.count}, expected ${count}`;
  const state = heads.prefix?.state(rows, { rollbackTokens: 0 });
  const graphs = new CaseGraphs(one.device, { owned: [model, ...owned], states: state?.states ?? [], bound: rows });
  try {
    const out = await graphs.run((graph) => {
      const seen = caseConstant(graph, hidden, rows);
      const x = heads.prefix ? heads.prefix.forward(chainRows(graph, ids.subarray(0, rows), 0), seen, state!) : seen;
      const shifted = (by: number) => graph.constant(Uint32Array.from(ids.subarray(by, by + rows)));
      return Object.fromEntries(
        Array.from({ length: count }, (_, head) => {
          const following = Array.from({ length: head + 1 }, (_unused, i) => shifted(i + 1));
          return [`${head}`, heads.logits(x, following)];
        }),
      );
    });
    return await normDifference(one, 'head_logits', joined(out, count));
  } finally {
    graphs.destroy();
  }
}

/** Candidates of each head upstream. */
const candidates = 10;

/** Rows of each depth that have children. */
export function expandedRows({ width, depth, parents, depths }: TreeShape): readonly (readonly number[])[] {
  const inner = new Set(parents.slice(1));
  return Array.from({ length: depth }, (_, at) =>
    Array.from({ length: width }, (_unused, row) => row).filter(
      (row) => depths[row] === at && (row === 0 || inner.has(row)),
    ),
  );
}

async function bufferDifference(one: SpeculativeCase, run: HydraRun): Promise<string | undefined> {
  const { name } = run;
  const shape = staticTree(run.choices);
  const integers = async (tensor: string) => Array.from((await one.tensor(`${name}.${tensor}`)).data);
  const leaves = leafPaths(shape);
  const padded = leaves.flatMap((path) => Array.from({ length: shape.depth + 1 }, (_, i) => path[i] ?? -1));
  const levels = expandedRows(shape);
  const childrenOf = (row: number) =>
    shape.parents.flatMap((parent, child) => (child > 0 && parent === row ? [child] : []));
  const counts = (row: number) => childrenOf(row).length;
  const expanding = (row: number) => childrenOf(row).filter((child) => childrenOf(child).length > 0).length;
  return (
    listDifference(`${name}, attn_mask`, Array.from(treeMask(shape)), await integers('attn_mask')) ??
    listDifference(`${name}, tree_indices`, candidateIndexes(shape, candidates), await integers('tree_indices')) ??
    listDifference(`${name}, position_ids`, shape.depths, await integers('position_ids')) ??
    listDifference(`${name}, retrieve_indices`, padded, await integers('retrieve_indices')) ??
    listDifference(
      `${name}, max_accepts`,
      leaves.map((path) => path.length - 1),
      await integers('max_accepts'),
    ) ??
    listDifference(
      `${name}, children`,
      levels.flatMap((rows) => rows.map(counts)),
      run.children_per_head.flat(),
    ) ??
    listDifference(
      `${name}, children that go on`,
      levels.flatMap((rows) => rows.map(expanding)),
      run.children_to_expand_per_head.flat(),
    )
  );
}
