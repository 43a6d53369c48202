import type { Drafter, DrafterState, TargetOutputs, TokenTree } from '@forerun/contracts';
import { MismatchedPartsError, reachableByAll } from '@forerun/contracts';
import { ArgumentError, slice, type Tensor } from '@forerun/tensor';

/** A drafter, and from when on it is good enough. */
export interface FirstChoice {
  readonly drafter: Drafter;
  /** Fewest rows under the anchor that it has to propose, or all that fit the round; 1 by default. */
  readonly atLeast?: number;
}

interface FirstState extends DrafterState {
  readonly parts: readonly DrafterState[];
}

/**
 * Uses the first of several drafters whose proposal is long enough, and the last where none is: look-up where the text repeats itself and a
 * head elsewhere, as in `first({ drafter: nGram(), atLeast: 3 }, eagle(head))`. All of them propose in every round and take in what was
 * kept; which proposal is verified is chosen on the GPU, so nothing is read back for it. So put before the last what costs little.
 *
 * A drafter whose proposal was not taken goes on from the kept tokens; a draft model takes them in once more for that.
 *
 * @throws {@link ArgumentError} for fewer than two drafters, or an `atLeast` that is no whole number from 1 up; {@link MismatchedPartsError}
 *   for drafters that want the target's hidden states at different places, or several with a function on the host.
 */
export function first(...choices: readonly (Drafter | FirstChoice)[]): Drafter {
  const list = choices.map((choice) => ('propose' in choice ? { drafter: choice } : choice));
  checkChoices(list);
  const drafters = list.map(({ drafter }) => drafter);
  const needs = sharedNeeds(drafters);
  const hosts = drafters.filter((drafter) => drafter.host);
  if (hosts.length > 1) {
    throw new MismatchedPartsError(
      `first: expected at most one drafter with a function on the host, got ${hosts.map(({ name }) => name).join(', ')}.`,
    );
  }
  const partsOf = (state: DrafterState) =>
    drafters.map((drafter, i) => [drafter, (state as FirstState).parts[i]!] as const);
  const targetOf = (target: TargetOutputs, drafter: Drafter) => narrowed(target, { own: drafter.needs, shared: needs });

  return {
    name: `first(${drafters.map(({ name }) => name).join(', ')})`,
    needs,
    gives: { distribution: drafters.every(({ gives }) => gives.distribution) },
    state: (capacityTokens, options) => together(drafters.map((drafter) => drafter.state(capacityTokens, options))),

    prefill(target, state, context) {
      for (const [drafter, part] of partsOf(state)) drafter.prefill(targetOf(target, drafter), part, context);
    },

    propose(round, state) {
      const trees = partsOf(state).map(([drafter, part]) => drafter.propose(round, part));
      const chain = trees.every((tree) => tree.chain);
      return trees.reduceRight((rest, tree, i) => {
        const least = Math.min(list[i]!.atLeast ?? 1, Math.max(round.width - 1, 1));
        const short = (tree.candidates ?? tree.count).less(least + 1);
        return either(short, [rest, tree], chain);
      });
    },

    absorb(round, { tree, accepted, target }, state) {
      for (const [drafter, part] of partsOf(state)) {
        drafter.absorb(round, { tree, accepted, target: targetOf(target, drafter) }, part);
      }
    },
    ...(hosts[0] ? { host: (tokens: Uint32Array) => hosts[0]!.host!(tokens) } : {}),
  };
}

function checkChoices(list: readonly FirstChoice[]): void {
  if (list.length < 2) throw new ArgumentError(`first: expected at least two drafters, got ${list.length}.`);
  for (const { drafter, atLeast = 1 } of list) {
    if (!Number.isInteger(atLeast) || atLeast < 1) {
      throw new ArgumentError(
        `first: atLeast is a whole number of at least 1, got ${atLeast} for drafter ${drafter.name}.`,
      );
    }
  }
}

/** What all drafters together want of the target. */
function sharedNeeds(drafters: readonly Drafter[]): Drafter['needs'] {
  const hidden = new Set(drafters.flatMap(({ needs }) => needs.hidden ?? []));
  if (hidden.size > 1) {
    throw new MismatchedPartsError(
      `first: expected drafters that want hidden states at the same place, got ${drafters.map(({ name, needs }) => `${name} (${needs.hidden ?? 'none'})`).join(', ')}.`,
    );
  }
  const taps = new Set(drafters.flatMap(({ needs }) => needs.taps ?? []));
  const topTokens = Math.max(0, ...drafters.map(({ needs }) => needs.topTokens ?? 0));
  const [place] = hidden;
  return {
    ...(place ? { hidden: place } : {}),
    ...(taps.size > 0 ? { taps: [...taps].sort((a, b) => a - b) } : {}),
    ...(topTokens > 0 ? { topTokens } : {}),
  };
}

/** Of what the target gave for all drafters, what one of them wanted. */
function narrowed(
  target: TargetOutputs,
  { own, shared }: { readonly own: Drafter['needs']; readonly shared: Drafter['needs'] },
): TargetOutputs {
  const { rows, hidden, taps, topTokens } = target;
  return {
    rows,
    ...(own.hidden && hidden ? { hidden } : {}),
    ...(own.taps && taps ? { taps: own.taps.map((tap) => taps[shared.taps!.indexOf(tap)]!) } : {}),
    ...(own.topTokens && topTokens
      ? { topTokens: slice(topTokens, 1, [0, Math.min(own.topTokens, topTokens.shape[1]!)]) }
      : {}),
  };
}

/** The states of several drafters as one. */
function together(parts: readonly DrafterState[]): FirstState {
  const guess = parts.find((part) => part.guess)?.guess;
  return {
    parts,
    states: [...new Set(parts.flatMap(({ states }) => states))],
    ...(guess ? { guess } : {}),
    truncate(to) {
      for (const part of parts) part.truncate(to);
    },
    reachable: (length, past) => reachableByAll(parts, length, past),
    ...(parts.some((part) => part.mark)
      ? {
          mark(length: Tensor) {
            for (const part of parts) part.mark?.(length);
          },
        }
      : {}),
  };
}

/** The first tree where `condition` (`[1]` u32) is not 0, else the second. */
function either(condition: Tensor, [yes, no]: readonly [TokenTree, TokenTree], chain: boolean): TokenTree {
  const choose = (column: (tree: TokenTree) => Tensor) => condition.select(column(yes), column(no));
  const { distribution: p } = yes;
  const { distribution: q } = no;
  return {
    width: yes.width,
    depth: Math.max(yes.depth, no.depth),
    chain,
    tokens: choose((tree) => tree.tokens),
    ...(chain ? {} : { parents: choose((tree) => links(tree).parents), depths: choose((tree) => links(tree).depths) }),
    count: choose((tree) => tree.count),
    ...(yes.candidates || no.candidates ? { candidates: choose((tree) => tree.candidates ?? tree.count) } : {}),
    ...(p && q ? { distribution: condition.reshape([1, 1]).select(p, q) } : {}),
  };
}

/** Parents and depths of a tree's rows, a chain's too. */
function links({ tokens, parents, depths }: TokenTree): { readonly parents: Tensor; readonly depths: Tensor } {
  const rows = Array.from({ length: tokens.shape[0]! }, (_, row) => row);
  const column = (values: readonly number[]) => tokens.graph.constant(Uint32Array.from(values));
  return {
    parents: parents ?? column(rows.map((row) => Math.max(row - 1, 0))),
    depths: depths ?? column(rows),
  };
}
