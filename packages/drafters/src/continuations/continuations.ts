/**
 * From places in a text that all follow the same tokens to a tree of what comes next: every continuation is a path of a trie, a node
 * counts the places that go through it, and the nodes with the largest counts are proposed. Places are sorted by what follows them,
 * so the places of a node lie next to each other.
 */
import type { Decoder, TokenTree } from '@forerun/contracts';
import type { BufferView, Lowering, Operand, Tensor } from '@forerun/tensor';
import { ArgumentError, defineOperation, State, u32Array, u32Vectors } from '@forerun/tensor';
import { chooseChain, chooseTree, countContinuations } from './continuations.reference.ts';
import { chooseChainKernel, chooseTreeKernel, countKernel, layOutKernel } from './continuations.wgsl.ts';

/** Most places that are looked at. */
export const maxPlaces = 4096;
/** Most tokens of a continuation. */
export const maxContinuation = 64;

/** What is chosen of all continuations. */
export interface ContinuationOptions {
  /** A tree of the most frequent nodes, or the chain of the most frequent next tokens. */
  readonly form: 'tree' | 'chain';
  /** Most tokens of a continuation, 1 to 64. */
  readonly longest: number;
  /** Tokens of a continuation that are allowed for each token that matched; Infinity for as many as there are. */
  readonly factor: number;
  /** Tokens that are allowed on top of that. */
  readonly offset: number;
  /** Least share of the places that must go through a node. */
  readonly minProbability: number;
}

/** Places whose continuations are looked at. */
export interface Places {
  /** `[T]` u32: the text; a state or a table. */
  readonly text: Operand;
  /** `[P]` u32: where the continuations begin, sorted by what follows. */
  readonly begins: Tensor;
  /** `[3]` u32: places in use, tokens that matched, end of the text. */
  readonly found: Tensor;
}

/** A tree of continuations, and how often its nodes were seen. */
export interface ContinuationTree extends TokenTree {
  /** `[M, 3]` u32: for each row the first of its places, its depth, and how many places go through it; the anchor's are all of them. */
  readonly picked: Tensor;
  /** What they were counted over. */
  readonly places: Places;
  /** `[P, longest]` u32: places that share the node of each depth that begins at a place, 0 where none begins. */
  readonly counts: Tensor;
}

interface ChooseAttributes extends ContinuationOptions {
  readonly width: number;
}

const textView = (lowering: Lowering, text: Operand): BufferView =>
  text instanceof State ? lowering.state(text) : lowering.tensor(text);

/** Operands: text, begins, found. Output `[P, longest]`: places that share the node which begins at a place, 0 where none begins. */
const countOperation = defineOperation<{ readonly longest: number }>({
  name: 'count-continuations',
  infer: ([, begins], { longest }) => [{ shape: [(begins as Tensor).shape[0]!, longest], dtype: 'u32' }],
  reference([text, begins, found], { longest }) {
    const places = { text: text!.data, begins: begins!.data, found: found!.data };
    return [u32Array(countContinuations(places, longest), [begins!.data.length, longest])];
  },
  lower(lowering, { operands, outputs, attributes: { longest } }) {
    const [text, begins, found] = operands as readonly [Operand, Tensor, Tensor];
    const places = begins.shape[0]!;
    lowering.dispatch(countKernel, {
      constants: { places, longest },
      bindings: {
        text: textView(lowering, text),
        begins: lowering.tensor(begins),
        found: lowering.tensor(found),
        counts: lowering.tensor(outputs[0]!),
      },
      workgroups: [Math.ceil(places / 64), 1, 1],
    });
  },
});

const choosers = {
  tree: { kernel: chooseTreeKernel, reference: chooseTree },
  chain: { kernel: chooseChainKernel, reference: chooseChain },
} as const;

/** Operands: found, counts. Outputs `[width, 3]` as `picked`, and `[1]` rows in use. */
const chooseOperation = defineOperation<ChooseAttributes>({
  name: 'choose-continuations',
  infer: (_, { width }) => [
    { shape: [width, 3], dtype: 'u32' },
    { shape: [1], dtype: 'u32' },
  ],
  reference([found, counts], attributes) {
    const { width, form, longest } = attributes;
    const nodes = choosers[form].reference(counts!.data, found!.data, attributes);
    const picked = new Float64Array(width * 3);
    picked[2] = Math.min(found!.data[0]!, counts!.data.length / longest);
    nodes.forEach(({ place, depth, seen }, index) => picked.set([place, depth, seen], 3 * (index + 1)));
    return [u32Array(picked, [width, 3]), u32Array([nodes.length + 1])];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const [found, counts] = operands as readonly [Tensor, Tensor];
    lowering.dispatch(choosers[attributes.form].kernel, {
      constants: { ...attributes, places: counts.shape[0]! },
      bindings: {
        found: lowering.tensor(found),
        counts: lowering.tensor(counts),
        picked: lowering.tensor(outputs[0]!),
        rows: lowering.tensor(outputs[1]!),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/** Operands: text, begins, picked, rows, anchor. Outputs `[width]` each: tokens, parents, depths. */
const layOutOperation = defineOperation<object>({
  name: 'lay-out-continuations',
  infer: ([, , picked]) => {
    const width = (picked as Tensor).shape[0]!;
    return u32Vectors(width, width, width);
  },
  reference([text, begins, picked, rows, anchor]) {
    const width = picked!.shape[0]!;
    const [tokens, parents, depths] = [0, 1, 2].map(() => new Float64Array(width)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    tokens[0] = anchor!.data[0]!;
    for (let row = 1; row < rows!.data[0]!; row++) {
      const [place, depth] = picked!.data.subarray(3 * row);
      tokens[row] = text!.data[begins!.data[place!]! + depth! - 1]!;
      depths[row] = depth!;
      for (let other = 1; other < row; other++) {
        const [first, above, seen] = picked!.data.subarray(3 * other);
        if (above! + 1 === depth && first! <= place! && place! < first! + seen!) parents[row] = other;
      }
    }
    return [u32Array(tokens), u32Array(parents), u32Array(depths)];
  },
  lower(lowering, { operands, outputs }) {
    const [text, begins, picked, rows, anchor] = operands as readonly [Operand, Tensor, Tensor, Tensor, Tensor];
    const width = picked.shape[0]!;
    lowering.dispatch(layOutKernel, {
      constants: { width },
      bindings: {
        text: textView(lowering, text),
        begins: lowering.tensor(begins),
        picked: lowering.tensor(picked),
        rows: lowering.tensor(rows),
        anchor: lowering.tensor(anchor),
        tokens: lowering.tensor(outputs[0]!),
        parents: lowering.tensor(outputs[1]!),
        depths: lowering.tensor(outputs[2]!),
      },
      workgroups: [Math.ceil(width / 64), 1, 1],
    });
  },
});

/**
 * Refuses options that make no sense.
 *
 * @throws {@link ArgumentError}
 */
export function checkContinuations(name: string, options: ContinuationOptions): void {
  const { longest, factor, offset, minProbability, form } = options;
  if (!Number.isInteger(longest) || longest < 1 || longest > maxContinuation) {
    throw new ArgumentError(`${name}: continuations have from 1 to ${maxContinuation} tokens, got ${longest}.`);
  }
  if (!(factor >= 0) || !Number.isFinite(offset)) {
    throw new ArgumentError(
      `${name}: expected a factor of at least 0 and a finite offset, got ${factor} and ${offset}.`,
    );
  }
  if (!(minProbability >= 0 && minProbability <= 1)) {
    throw new ArgumentError(`${name}: minProbability is from 0 to 1, got ${minProbability}.`);
  }
  if (form !== 'tree' && form !== 'chain') {
    throw new ArgumentError(`${name}: form is 'tree' or 'chain', got ${JSON.stringify(form)}.`);
  }
}

/**
 * The tree of `width` rows of what follows the places: the most frequent nodes (more places first, then shallow ones, then in the order
 * of the places), or the chain of the most frequent next tokens. Three dispatches.
 *
 * @param given.anchor `[1]` u32
 * @param given.decoder - Where it verifies chains only, it is a chain whatever was asked for.
 */
export function continuationTree(
  places: Places,
  given: {
    readonly anchor: Tensor;
    readonly width: number;
    readonly decoder?: Pick<Decoder, 'branching'> | undefined;
    readonly options: ContinuationOptions;
  },
): ContinuationTree {
  const { text, begins, found } = places;
  const { anchor, width } = given;
  const form = given.decoder?.branching === false ? 'chain' : given.options.form;
  const options = { ...given.options, form };
  const { graph } = anchor;
  const [counts] = graph.apply(countOperation, [text, begins, found], { longest: options.longest });
  const [picked, count] = graph.apply(chooseOperation, [found, counts!], { ...options, width });
  const [tokens, parents, depths] = graph.apply(layOutOperation, [text, begins, picked!, count!, anchor], {});
  const chain = form === 'chain';
  return {
    width,
    depth: chain ? width - 1 : Math.min(options.longest, width - 1),
    chain,
    tokens: tokens!,
    ...(chain ? {} : { parents: parents!, depths: depths! }),
    count: count!,
    picked: picked!,
    places,
    counts: counts!,
  };
}
