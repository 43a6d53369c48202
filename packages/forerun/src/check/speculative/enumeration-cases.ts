/** Exact distributions of what one round emits, by enumerating every draft and every answer of chance. */
import {
  blockReference,
  type Chance,
  enumerateChances,
  type HostTree,
  type HostVerdict,
  matchReference,
  multiRoundReference,
  rejectionReference,
  traversalReference,
} from '@forerun/verifiers';
import { firstDifference, type SpeculativeCase } from './speculative-case.ts';

interface ExactResult {
  readonly name: string;
  readonly tables: string;
  readonly method: string;
  readonly gamma?: number;
  readonly children_per_depth?: readonly number[];
}

/** Next-token distributions by prefix: `[depth][prefix read as a number]`. */
type PrefixTables = readonly (readonly Float64Array[])[];

interface Playing {
  readonly p: readonly Float64Array[];
  readonly q: readonly Float64Array[];
  readonly chance: Chance;
}

/** How drafts of a node come about, and how a tree is judged. */
interface ExactMethod {
  readonly drafts: 'most-likely' | 'with-replacement' | 'without-replacement';
  readonly judge: (tree: HostTree, playing: Playing) => HostVerdict;
}

const match: ExactMethod['judge'] = (tree, { p, chance }) => matchReference(tree, p, chance);

const exactMethods: Readonly<Record<string, ExactMethod>> = {
  leviathan: {
    drafts: 'with-replacement',
    judge: (tree, { p, q, chance }) => rejectionReference(tree, { p, q }, chance),
  },
  one_hot: { drafts: 'most-likely', judge: (tree, { p, chance }) => rejectionReference(tree, { p }, chance) },
  sample_match: { drafts: 'with-replacement', judge: match },
  block: { drafts: 'with-replacement', judge: (tree, { p, q, chance }) => blockReference(tree, { p, q }, chance) },
  with_replacement: {
    drafts: 'with-replacement',
    judge: (tree, { p, q, chance }) => multiRoundReference(tree, { p, q }, { chance, source: 'with-replacement' }),
  },
  without_replacement: {
    drafts: 'without-replacement',
    judge: (tree, { p, q, chance }) => multiRoundReference(tree, { p, q }, { chance, source: 'without-replacement' }),
  },
  top_k: {
    drafts: 'most-likely',
    judge: (tree, { p, chance }) => multiRoundReference(tree, { p }, { chance, source: 'certain' }),
  },
  top_k_match: { drafts: 'most-likely', judge: match },
  sample_match_tree: { drafts: 'without-replacement', judge: match },
  traversal: {
    drafts: 'without-replacement',
    judge: (tree, { p, q, chance }) => traversalReference(tree, { p, q }, chance),
  },
};

/** Parents and depths of the tree in which every node of depth d has `children[d]` children, rows by depth. */
function fullTree(children: readonly number[]): { parents: number[]; depths: number[] } {
  const [parents, depths] = [[0], [0]];
  let level = [0];
  children.forEach((count, depth) => {
    const next: number[] = [];
    for (const parent of level) {
      for (let i = 0; i < count; i++) {
        next.push(parents.length);
        parents.push(parent);
        depths.push(depth + 1);
      }
    }
    level = next;
  });
  return { parents, depths };
}

const prefixOf = (prefix: number, token: number, vocabSize: number) => prefix * vocabSize + token;

/** Probabilities of the blocks of tokens that a round emits, the tokens read as one name. */
function exactBlocks(
  { drafts, judge }: ExactMethod,
  children: readonly number[],
  tables: { readonly p: PrefixTables; readonly q: PrefixTables },
): Map<string, number> {
  const { parents, depths } = fullTree(children);
  const vocabSize = tables.p[0]![0]!.length;
  const blocks = new Map<string, number>();
  const siblings = parents.map((parent, row) =>
    parents.flatMap((one, other) => (other > 0 && other < row && one === parent ? [other] : [])),
  );
  enumerateChances(
    (chance) => {
      const [tokens, prefixes] = [[0], [0]];
      for (let row = 1; row < parents.length; row++) {
        const parent = parents[row]!;
        const weights = Float64Array.from(tables.q[depths[parent]!]![prefixes[parent]!]!);
        if (drafts !== 'with-replacement') for (const other of siblings[row]!) weights[tokens[other]!] = 0;
        const token = drafts === 'most-likely' ? weights.indexOf(Math.max(...weights)) : chance.draw(weights);
        tokens.push(token);
        prefixes.push(prefixOf(prefixes[parent]!, token, vocabSize));
      }
      const p = prefixes.map((prefix, row) => tables.p[depths[row]!]![prefix]!);
      // Leaves have no children, so nothing reads what those would be drawn from.
      const q = prefixes.map((prefix, row) => tables.q[depths[row]!]?.[prefix] ?? p[row]!);
      const { path, next } = judge({ tokens, parents }, { p, q, chance });
      return { kept: path.slice(1).map((row) => tokens[row]!), next };
    },
    ({ kept, next }, probability) => {
      const total = next.reduce((sum, weight) => sum + weight, 0);
      next.forEach((weight, token) => {
        if (weight === 0) return;
        const block = [...kept, token].join(' ');
        blocks.set(block, (blocks.get(block) ?? 0) + (probability * weight) / total);
      });
    },
  );
  return blocks;
}

/** Every rule enumerated over small trees, block by block, and against the target's own distribution. */
export async function verifierExact(one: SpeculativeCase): Promise<string | undefined> {
  const { V: vocabSize } = one.facts['params'] as { V: number };
  return firstDifference(one.facts['results'] as readonly ExactResult[], async (result) => {
    const method = exactMethods[result.method];
    if (!method) return `${result.name}: no rule ${result.method}`;
    const children = result.children_per_depth ?? Array.from({ length: result.gamma! }, () => 1);
    const tables = {
      p: await prefixTables(one, `${result.tables}.p`),
      q: await prefixTables(one, `${result.tables}.q`),
    };
    const blocks = exactBlocks(method, children, tables);
    const wanted = await one.tensor(`${result.name}.blocks`);
    const probabilities = (await one.tensor(`${result.name}.probabilities`)).data;
    const width = wanted.shape[1]!;
    const seen = new Map<string, number>();
    probabilities.forEach((probability, row) => {
      const block = Array.from(wanted.data.subarray(row * width, (row + 1) * width)).filter((token) => token >= 0);
      seen.set(block.join(' '), probability);
    });
    let worst = 0;
    for (const block of new Set([...blocks.keys(), ...seen.keys()])) {
      worst = Math.max(worst, Math.abs((blocks.get(block) ?? 0) - (seen.get(block) ?? 0)));
    }
    const lossless = targetError(blocks, tables.p, { vocabSize, length: children.length + 1 });
    if (worst <= 1e-9 && lossless <= 1e-9) return undefined;
    return `${result.name}: blocks off by ${worst.toExponential(2)}, the target's distribution by ${lossless.toExponential(2)}`;
  });
}

async function prefixTables(one: SpeculativeCase, name: string): Promise<PrefixTables> {
  const tables: Float64Array[][] = [];
  for (let depth = 0; one.has(`${name}${depth}`); depth++) {
    const { shape, data } = await one.tensor(`${name}${depth}`);
    const width = shape[1]!;
    tables.push(Array.from({ length: shape[0]! }, (_, row) => data.subarray(row * width, (row + 1) * width)));
  }
  return tables;
}

/** Largest difference between the probability of `length` tokens, blocks continued by the target, and the target's own. */
function targetError(
  blocks: ReadonlyMap<string, number>,
  p: PrefixTables,
  { vocabSize, length }: { readonly vocabSize: number; readonly length: number },
): number {
  const start = { prefix: 0, probability: 1 };
  const extend = (from: typeof start, depth: number): (typeof start)[] => {
    if (depth === length) return [from];
    return Array.from(p[depth]![from.prefix]!, (probability, token) => ({
      prefix: prefixOf(from.prefix, token, vocabSize),
      probability: from.probability * probability,
    })).flatMap((one) => extend(one, depth + 1));
  };
  const own = new Map(extend(start, 0).map(({ prefix, probability }) => [prefix, probability]));
  for (const [block, probability] of blocks) {
    const tokens = block.split(' ').map(Number);
    const prefix = tokens.reduce((sum, token) => prefixOf(sum, token, vocabSize), 0);
    for (const one of extend({ prefix, probability }, tokens.length)) {
      own.set(one.prefix, own.get(one.prefix)! - one.probability);
    }
  }
  return Math.max(...[...own.values()].map(Math.abs));
}
