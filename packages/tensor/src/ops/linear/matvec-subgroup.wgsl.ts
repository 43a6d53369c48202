/**
 * The decode kernel where a subgroup has at least the lanes that lie along K: lane sums are exchanged by shuffles instead of workgroup
 * memory. The same pairs are added in the same order as in the portable kernel, so the bits are the same. It takes invocations of a
 * one-dimensional workgroup to fill subgroups in order, as every driver that we met does; WGSL does not promise it.
 */
import { defineKernel } from '../../kernel/define-kernel.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, slotsName } from './linear-slots.ts';
import type { MatvecConstants, MatvecCut, MatvecWalk } from './matvec.wgsl.ts';
import {
  keptFeatures,
  keptWgsl,
  lanesSumSquares,
  matvecEntry,
  matvecPlace,
  squaresOf,
  sumName,
  unitWalk,
} from './matvec.wgsl.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** What {@link exchange} leaves with each lane: how many values, from `item` on, and how many lanes have the same. */
interface Exchanged {
  readonly held: number;
  readonly sharers: number;
  /** Whether the number of values is a power of two. */
  readonly whole: boolean;
}

/** WGSL of which values a lane will have in the end, `item` and, of an odd number, up to `end`: before anything is added up. */
function shareOut({ cut }: MatvecConstants): Exchanged & { readonly lines: readonly string[] } {
  const count = cut.outputs * cut.rows;
  const whole = Number.isInteger(Math.log2(count));
  const lines: string[] = ['var item = 0u;', ...(whole ? [] : [`var end = ${count}u;`])];
  let [held, sharers] = [count, 1];
  for (let step = 1; step < cut.lanes; step *= 2) {
    if (held === 1) {
      sharers *= 2;
      continue;
    }
    held = Math.ceil(held / 2);
    lines.push(
      `let up${step} = (lane & ${step}u) != 0u;`,
      ...(whole ? [] : [`end = select(min(item + ${held}u, end), end, up${step});`]),
      `item += select(0u, ${held}u, up${step});`,
    );
  }
  return { lines, held, sharers, whole };
}

/**
 * Adds up over lanes. While a lane holds more than one value, each step sends half of them to the neighbour and keeps the other half,
 * so that in the end every lane has finished values of its own, those of {@link shareOut}; after that a plain exchange. An odd number is
 * halved with a place to spare, whose value nobody uses.
 */
function exchange(constants: MatvecConstants): string[] {
  const { slots, cut } = constants;
  const sets = slots.gate === undefined ? [0] : [0, 1];
  const value = (set: number, index: number) => sumName(set, Math.floor(index / cut.rows), index % cut.rows);
  const lines: string[] = [];
  let held = cut.outputs * cut.rows;
  for (let step = 1; step < cut.lanes; step *= 2) {
    if (held === 1) {
      for (const set of sets) lines.push(`${value(set, 0)} += subgroupShuffleXor(${value(set, 0)}, ${step}u);`);
      continue;
    }
    const before = held;
    held = Math.ceil(held / 2);
    for (const set of sets) {
      for (const i of range(held)) {
        const [low, high] = [value(set, i), value(set, i + held < before ? i + held : i)];
        lines.push(
          `{ let kept = select(${low}, ${high}, up${step}); let sent = select(${high}, ${low}, up${step}); ${low} = kept + subgroupShuffleXor(sent, ${step}u); }`,
        );
      }
    }
  }
  if (lanesSumSquares(constants)) {
    for (let step = 1; step < cut.lanes; step *= 2) {
      for (const m of range(cut.rows)) lines.push(`squares${m} += subgroupShuffleXor(squares${m}, ${step}u);`);
    }
  }
  return lines;
}

/** Whether a lane loads its residual before it walks the weight, so that it need not wait for it in the end. */
const loadsBefore = ({ slots }: MatvecConstants, { held }: Exchanged) => slots.residual && held === 1;

/** WGSL of what is done before the walk. */
function beginExchanged(constants: MatvecConstants): string {
  const { slots, cut } = constants;
  const { lines, ...share } = shareOut(constants);
  const row = `min(firstRow + item % ${cut.rows}u, u.rows - 1u)`;
  const output = `min(firstOutput + item / ${cut.rows}u, ${slots.outputs - 1}u)`;
  const before = loadsBefore(constants, share) ? [`let before = residual[outputIndex(${row}, ${output})];`] : [];
  return [...lines, ...before].join('\n  ');
}

function finishExchanged(constants: MatvecConstants, walk: MatvecWalk): string {
  const { slots, cut } = constants;
  const share = shareOut(constants);
  const { held, sharers, whole } = share;
  const lines = exchange(constants);
  const early = loadsBefore(constants, share);
  const value = (set: number, index: number) => sumName(set, Math.floor(index / cut.rows), index % cut.rows);
  const selected = () =>
    range(cut.rows).reduce((found, m) => (m === 0 ? 'squares0' : `select(${found}, squares${m}, m == ${m}u)`), '');
  const walked = walk.squares?.('m') ?? selected();
  for (const i of range(held)) {
    const sums = slots.gate === undefined ? value(0, i) : `vec2<f32>(${value(0, i)}, ${value(1, i)})`;
    lines.push(`{
    let m = (item + ${i}u) % ${cut.rows}u;
    let row = firstRow + m;
    let output = firstOutput + (item + ${i}u) / ${cut.rows}u;
    if (${whole ? '' : `item + ${i}u < end && `}lane < ${cut.lanes / sharers}u && row < u.rows && output < ${slots.outputs}u) {
      ${early ? 'finishWith' : 'finish'}(row, output, ${sums}, ${squaresOf(constants, 'row', walked)}${early ? ', before' : ''});
    }
  }`);
  }
  return lines.join('\n  ');
}

/** The kernel in which lanes exchange sums by shuffles. */
export function matvecSubgroupWgsl(constants: MatvecConstants, walk = unitWalk(constants)): string {
  const { functions, tail } = keptWgsl(constants);
  return /* wgsl */ `
${walk.functions}
${functions}
@diagnostic(off, subgroup_uniformity)
${matvecEntry(constants.cut.workgroup)}
  ${matvecPlace(constants)}
  ${beginExchanged(constants)}
  ${walk.loop}
  ${finishExchanged(constants, walk)}
  ${tail}
}`;
}

/** The subgroup kernel for these slots; no subgroup may have fewer lanes than `cut.lanes`. */
export function matvecSubgroupKernel(slots: LinearSlots, cut: MatvecCut) {
  return defineKernel({
    name: `matvec-${slotsName(slots)}-${cut.lanes}-lanes-subgroups`,
    bindings: linearBindings(slots),
    uniforms: linearUniforms,
    features: ['subgroups', ...keptFeatures(slots)],
    wgsl: (constants: MatvecConstants) => matvecSubgroupWgsl(constants),
  });
}
