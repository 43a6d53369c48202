/** What a linear operation asks of the choice table: which cut of its kernel is fastest for these slots on this device. */
import type { ChoiceQuestion, ChoiceTable, TimedBuffer, TimedDispatch } from '../../compile/choices.ts';
import type { Arithmetic } from '../../compile/lowering.ts';
import { weightBytes } from '../../graph/weight.ts';
import type { AnyKernel } from '../../kernel/define-kernel.ts';
import type { MatvecFamily } from './linear-choice.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf, segmentAlignment } from './linear-slots.ts';
import type { MatmulCut } from './matmul.wgsl.ts';
import type { MatvecCut } from './matvec.wgsl.ts';
import { prepareRowsKernel } from './prepare-rows.wgsl.ts';
import type { RowForm } from './prepared-rows.wgsl.ts';
import { preparedRowBytes } from './prepared-rows.wgsl.ts';

/** A kernel of these slots with its constants and grid. */
export interface CutKernel {
  readonly kernel: AnyKernel;
  readonly slots: LinearSlots;
  readonly workgroups: number;
}

/** The form in which a kernel reads prepared rows. */
export interface PreparedFor {
  readonly arithmetic: Arithmetic;
  /** Lanes along K. */
  readonly lanes: number;
}

/** What a cut wants prepared; undefined where its kernel reads `x` as it is. */
export function preparedFor(cut: object): PreparedFor | undefined {
  if ('depth' in cut) {
    const { arithmetic = 'f32' } = cut as MatmulCut;
    return arithmetic === 'f32' ? undefined : { arithmetic, lanes: 1 };
  }
  const { blocks, lanes, arithmetic = 'f32' } = cut as MatvecCut;
  return blocks?.tiles === 0 ? { arithmetic, lanes } : undefined;
}

/** What tells a question apart: the arithmetic, the shape, and what is fused. */
export function questionKey(kind: string, slots: LinearSlots, arithmetic: Arithmetic): string {
  const { format, rows, width, outputs, segments, norm, gate, residual, biases, written } = slots;
  const parts = [
    ...(norm ? ['norm'] : []),
    ...(gate === undefined ? [] : [gate]),
    ...(segments.length > 1 ? [segments.map(({ begin, end }) => end - begin).join('+')] : []),
    ...(biases.some((bias) => bias !== undefined) ? ['bias'] : []),
    ...(residual ? ['residual'] : []),
    ...(written ? [`writes ${written.form.arithmetic}${written.form.norm ? ' normed' : ''}`] : []),
    ...(written?.plain ? ['and plain'] : []),
  ];
  return [kind, arithmetic, format, `${rows}x${width}>${outputs}`, ...parts].join(' ');
}

/** Bytes of what a kernel of these slots binds. */
function buffersOf(slots: LinearSlots, rowBytes: number): Record<string, TimedBuffer> {
  const { format, rows, width, outputs, rowOffset, segments, norm, biases, residual, written } = slots;
  const { codes, scales } = weightBytes(format, rowOffset + outputs * matricesOf(slots), width);
  const words = segments.reduce(
    (sum, { stride }) => sum + Math.ceil((rows * stride) / segmentAlignment) * segmentAlignment,
    0,
  );
  return {
    x: { bytes: rows * rowBytes },
    codes: { bytes: codes, streamed: true },
    ...(scales > 0 ? { scales: { bytes: scales, streamed: true } } : {}),
    ...(norm?.gainRow === undefined ? {} : { gain: { bytes: (norm.gainRow + 1) * width * 4 } }),
    ...Object.fromEntries(
      biases.flatMap((bias, i) => (bias === undefined ? [] : [[`bias${i}`, { bytes: (bias + outputs) * 4 }]])),
    ),
    ...(norm?.prepared ? { squares: { bytes: rows * 4 } } : {}),
    ...(residual ? { residual: { bytes: words * 4 } } : {}),
    ...(written ? { prepared: { bytes: rows * preparedRowBytes(written.form) } } : {}),
    ...(written?.form.norm?.gainRow === undefined
      ? {}
      : { preparedGain: { bytes: (written.form.norm.gainRow + 1) * outputs * 4 } }),
    y: { bytes: words * 4 },
  };
}

/** Dispatches of one cut: the kernel, after the one that prepares its rows where that is not done by what makes them. */
function work(slots: LinearSlots, cut: object, made: CutKernel, ready: boolean): TimedDispatch[] {
  const { rows, width, norm } = slots;
  const matrix = (buffers: Record<string, TimedBuffer>): TimedDispatch => ({
    kernel: made.kernel,
    constants: { slots: made.slots, cut },
    uniforms: { rows },
    buffers,
    workgroups: made.workgroups,
  });
  const wanted = preparedFor(cut);
  if (!wanted) return [matrix(buffersOf(made.slots, width * 4))];
  const constants: RowForm = { ...wanted, width, norm };
  const rowBytes = preparedRowBytes(constants);
  const product = matrix(buffersOf(made.slots, rowBytes));
  if (ready) return [product];
  const prepare: TimedDispatch = {
    kernel: prepareRowsKernel(constants) as unknown as AnyKernel,
    constants,
    uniforms: {},
    buffers: {
      x: { bytes: rows * width * 4 },
      ...(norm?.gainRow === undefined ? {} : { preparedGain: { bytes: (norm.gainRow + 1) * width * 4 } }),
      prepared: { bytes: rows * rowBytes },
    },
    workgroups: rows,
  };
  return [prepare, product];
}

/** The question which of several cuts to take. */
export function linearQuestion<Cut extends object>(options: {
  readonly key: string;
  readonly candidates: readonly Cut[];
  readonly name: (cut: Cut) => string;
  readonly slots: LinearSlots;
  readonly kernel: (slots: LinearSlots, cut: Cut) => CutKernel;
  /** Whether what makes `x` prepares its rows. */
  readonly ready?: boolean;
}): ChoiceQuestion<Cut> {
  const { key, candidates, name, kernel, ready = false } = options;
  // Where in a group of weights these lie changes no time.
  const slots = { ...options.slots, rowOffset: 0 };
  return { key, candidates, name, work: (cut) => work(slots, cut, kernel(slots, cut), ready) };
}

/** Rows at which orders of sums are compared: mostly one, since most passes of most models have one. */
const comparedRows = [1, 1, 4];

/** Part by which an order of sums must be faster than the default: bits follow from it, so it should not change from load to load. */
const familyMargin = 0.15;

/** The question which order of sums a matrix takes at every number of rows, and so with one key for all of them. */
export function familyQuestion(options: {
  readonly arithmetic: Arithmetic;
  readonly families: readonly MatvecFamily[];
  readonly slots: LinearSlots;
  readonly kernel: (slots: LinearSlots, cut: MatvecCut) => CutKernel;
}): ChoiceQuestion<MatvecFamily> {
  const { arithmetic, families, slots, kernel } = options;
  return {
    key: questionKey('order', { ...slots, rows: 0 }, arithmetic),
    candidates: families,
    margin: familyMargin,
    name: ({ name }) => name,
    work: ({ cuts }) =>
      comparedRows.flatMap((rows) => {
        const own = { ...slots, rows, rowOffset: 0 };
        // In a model what makes the rows prepares them, with few exceptions.
        const [cut] = cuts(own, { ready: true }) as readonly [MatvecCut];
        return work(own, cut, kernel(own, cut), true);
      }),
  };
}

/** A cut in words, with its time and that of the default where they were measured. */
export function choiceText(table: ChoiceTable | undefined, key: string, chosen: string): string {
  const answer = table?.answers[key];
  const [first, ...others] = Object.entries(answer?.nanoseconds ?? {});
  if (!answer || !first) return chosen;
  const us = (nanoseconds: number | undefined) => `${((nanoseconds ?? 0) / 1000).toFixed(1)} us`;
  const fallback = chosen === first[0] ? '' : `, default ${us(first[1])}`;
  return `${chosen} (${us(answer.nanoseconds[chosen])} of ${others.length + 1} timed${fallback})`;
}
