/** Times every cut of the kernels of a matrix, after holding each to the reference, and those of one order of sums to its bits. */
import type { ChoiceQuestion, TimedDispatch } from '../compile/choices.ts';
import { compile } from '../compile/compile.ts';
import type { Arithmetic } from '../compile/lowering.ts';
import type { Device } from '../device/device.ts';
import { trace } from '../graph/graph.ts';
import type { NdArray } from '../graph/operation.ts';
import { defineOperation } from '../graph/operation.ts';
import type { WeightFormat } from '../graph/weight.ts';
import { Weight, weightBytes } from '../graph/weight.ts';
import type { FusedLinearAttributes } from '../ops/linear/fused-linear.ts';
import { matmulOf, matvecOf } from '../ops/linear/choose-linear.ts';
import { fusedLinearKernels, fusedLinearOperation } from '../ops/linear/fused-linear.ts';
import type { LinearChoice } from '../ops/linear/linear-choice.ts';
import { cutText, decodeRows, linearChoice, linearFamilies } from '../ops/linear/linear-choice.ts';
import { blockLanes } from '../ops/linear/block-cut.ts';
import type { LinearDeviceKind } from '../ops/linear/linear-device.ts';
import { linearDeviceKind } from '../ops/linear/linear-device.ts';
import { linearQuestion, questionKey } from '../ops/linear/linear-question.ts';
import type { LinearNorm, LinearSlots } from '../ops/linear/linear-slots.ts';
import { tileCandidates, tileText } from '../ops/linear/tile-cut.ts';
import { Commands } from '../run/commands.ts';
import { deviceTimer } from '../run/time-choices.ts';
import { WeightStore } from '../run/weight-store.ts';
import { MismatchError, relativeError } from './hold.ts';
import { randomSource } from './random.ts';
import type { PackedWeight } from './weights.ts';
import { packedUpload, packRandomWeight } from './weights.ts';

/** A matrix as a decoder multiplies with it. */
export interface SweptMatrix {
  readonly format: WeightFormat;
  readonly arithmetic: Arithmetic;
  /** M; above 64 the kernels are those of prefill. */
  readonly rows: number;
  /** K. */
  readonly width: number;
  /** N; of each of two when gated. */
  readonly outputs: number;
  /** A norm in front; above 64 rows it is no part of the matrix, and left out. */
  readonly normed?: boolean;
  /** `silu(first) * second` of two matrices. */
  readonly gated?: boolean;
  readonly residual?: boolean;
  /** Whether `x` comes prepared, as in a model; otherwise what prepares it is timed too. Up to 64 rows. */
  readonly ready?: boolean;
  /** The output is written as prepared rows for a matrix behind a norm or without, and as it is too where that is read. Up to 64 rows. */
  readonly writes?: { readonly norm: boolean; readonly plain: boolean };
  /** Many more cuts than the table has, where `x` is ready: to find out which it should. */
  readonly wide?: boolean;
}

/** One cut with its time. */
export interface SweptCut {
  /** Order of sums, whose cuts give the same bits; above 64 rows all tiles, which may differ. */
  readonly family: string;
  readonly cut: string;
  /** Whether it is what the table takes without measuring. */
  readonly byDefault: boolean;
  /** With the kernel that prepares its rows, where it has one and they are not ready; not finite where the device refuses it. */
  readonly microseconds: number;
  /** Bytes of the weight over that time. */
  readonly bytesPerSecond: number;
  /** Multiplications and additions over that time. */
  readonly flopsPerSecond: number;
  /** `‖out - reference‖ / ‖reference‖` of a smaller matrix of the same width. */
  readonly relativeError: number;
}

/** Outputs of the matrix that results are checked on. */
const checkedOutputs = 24;

/** Errors past which a kernel counts as wrong, for one matrix. */
const tolerances: Readonly<Record<Arithmetic, number>> = { f32: 1e-5, f16: 4e-3, i8: 3e-2 };

function slotsOf(matrix: SweptMatrix, device: LinearDeviceKind): LinearSlots {
  const { format, arithmetic, rows, width, outputs, normed, gated, residual = false, writes } = matrix;
  const norm: LinearNorm = { epsilon: 1e-6, offset: 0, gainRow: 0, prepared: false };
  const form = {
    arithmetic,
    lanes: blockLanes(device, outputs),
    width: outputs,
    norm: writes?.norm ? norm : undefined,
  };
  return {
    format,
    rows,
    width,
    outputs,
    rowOffset: 0,
    segments: [{ begin: 0, end: outputs, column: 0, stride: outputs }],
    biases: gated ? [undefined, undefined] : [undefined],
    ...(normed ? { norm } : {}),
    ...(gated ? { gate: 'silu' } : {}),
    residual,
    ...(writes ? { written: { form, plain: writes.plain } } : {}),
  };
}

/** A smaller matrix of the same width with its data, and what it gives in float64. */
class Check {
  readonly #device: Device;
  readonly #matrix: SweptMatrix;
  readonly #packed: readonly PackedWeight[];
  readonly #attributes: FusedLinearAttributes;
  readonly #inputs: Readonly<Record<string, Float32Array<ArrayBuffer>>>;
  readonly #reference: Float64Array;

  constructor(device: Device, matrix: SweptMatrix) {
    const { format, rows, width, normed, gated, residual = false } = matrix;
    const random = randomSource(1);
    const vector = (count: number) => Float32Array.from({ length: count }, () => random.normal());
    this.#device = device;
    this.#matrix = matrix;
    this.#packed = [
      ...(normed ? [new Weight({ name: 'gain', shape: [width], format: 'f32' })] : []),
      ...['w', ...(gated ? ['w2'] : [])].map((name) => new Weight({ name, shape: [checkedOutputs, width], format })),
    ].map((weight, i) => packRandomWeight(weight, randomSource(i + 2)));
    this.#attributes = {
      ...(normed ? { norm: { epsilon: 1e-6, offset: 0, gain: true } } : {}),
      biased: gated ? [false, false] : [false],
      ...(gated ? { gate: 'silu' } : {}),
      residual,
    };
    this.#inputs = { x: vector(rows * width), ...(residual ? { r: vector(rows * checkedOutputs) } : {}) };
    const array = (values: ArrayLike<number>, shape: readonly number[]): NdArray => ({
      shape,
      dtype: 'f32',
      data: Float64Array.from(values),
    });
    const operands = [
      array(this.#inputs.x!, [rows, width]),
      ...this.#packed.map(({ values, weight }) => array(values, weight.shape)),
      ...(residual ? [array(this.#inputs.r!, [rows, checkedOutputs])] : []),
    ];
    this.#reference = Float64Array.from(fusedLinearOperation.reference(operands, this.#attributes)[0]!.data);
  }

  /** Outputs with kernels so chosen, and how far they are from the reference. */
  async run(chosen: Partial<LinearChoice>): Promise<{ readonly bits: Uint32Array; readonly relativeError: number }> {
    const [device, { rows, width, arithmetic }] = [this.#device, this.#matrix];
    const choice: LinearChoice = { ...linearChoice(device, arithmetic), ...chosen };
    const operation = defineOperation<FusedLinearAttributes>({
      ...fusedLinearOperation,
      ...fusedLinearKernels(choice),
    });
    const graph = trace((traced) => {
      const x = traced.input('x', [rows, width]);
      const residual = this.#inputs.r ? [traced.input('r', [rows, checkedOutputs])] : [];
      const weights = this.#packed.map(({ weight }) => weight);
      traced.output('y', traced.apply(operation, [x, ...weights, ...residual], this.#attributes)[0]!);
    });
    const store = new WeightStore(device);
    if (this.#matrix.gated) store.group(this.#packed.slice(-2).map(({ weight }) => weight));
    const program = await compile(graph, { device, name: 'swept', weights: store, arithmetic, fusion: false });
    try {
      store.allocate();
      await packedUpload(this.#packed).upload(store);
      for (const [name, values] of Object.entries(this.#inputs)) program.write(name, values);
      const values = await device.scoped(() => {
        const commands = new Commands(device).run(program);
        const read = commands.read(program, 'y');
        commands.submit();
        return read as Promise<Float32Array<ArrayBuffer>>;
      });
      return { bits: new Uint32Array(values.buffer), relativeError: relativeError(values, this.#reference) };
    } finally {
      program.destroy();
      store.destroy();
    }
  }
}

/** Cuts that are timed against each other. */
interface SweptFamily {
  readonly name: string;
  readonly sameBits: boolean;
  readonly cuts: readonly {
    readonly text: string;
    readonly work: readonly TimedDispatch[];
    /** What has a linear operation take it. */
    readonly chosen: Partial<LinearChoice>;
  }[];
}

function familyOf<Cut extends object>(
  question: ChoiceQuestion<Cut>,
  { sameBits, chosen }: { readonly sameBits: boolean; readonly chosen: (cut: Cut) => Partial<LinearChoice> },
): SweptFamily {
  const { key, candidates, name, work } = question;
  const cuts = candidates.map((cut) => ({ text: name(cut), work: work(cut), chosen: chosen(cut) }));
  return { name: key, sameBits, cuts };
}

function familiesOf(device: Device, slots: LinearSlots, matrix: SweptMatrix): readonly SweptFamily[] {
  const kind = linearDeviceKind(device);
  const { arithmetic, ready = false, wide = false } = matrix;
  if (slots.rows > decodeRows) {
    const candidates = tileCandidates({ device: kind, slots, arithmetic }, { every: true });
    const question = linearQuestion({ key: 'tiles', candidates, name: tileText, slots, kernel: matmulOf });
    return [familyOf(question, { sameBits: false, chosen: (cut) => ({ matmul: () => cut }) })];
  }
  return linearFamilies(kind, slots, arithmetic).map(({ name, cuts }) =>
    familyOf(
      linearQuestion({
        key: name,
        candidates: cuts(slots, { ready, wide }),
        name: cutText,
        slots,
        kernel: matvecOf,
        ready,
      }),
      {
        sameBits: true,
        chosen: (cut) => ({
          matvec: () => cut,
          families: () => [{ name: 'one', cuts: () => [cut] }],
          matmul: () => undefined,
          preparesNorm: () => false,
        }),
      },
    ),
  );
}

/**
 * Times every cut of a matrix on the device's own clock: up to 64 rows of each order of sums that there is a kernel for, above of each
 * kernel of prefill.
 * @throws {@link MismatchError} when a cut is off from the reference, or from the bits of its family.
 */
export async function sweepLinear(device: Device, asked: SweptMatrix): Promise<readonly SweptCut[]> {
  const { ready: _, writes: __, ...prefill } = asked;
  const matrix: SweptMatrix = asked.rows > decodeRows ? { ...prefill, normed: false } : asked;
  const { format, arithmetic, width, outputs, gated } = matrix;
  const slots = slotsOf(matrix, linearDeviceKind(device));
  const time = deviceTimer(device);
  const check = new Check(device, matrix);
  const { codes, scales } = weightBytes(format, outputs * (gated ? 2 : 1), width);
  const swept: SweptCut[] = [];
  for (const [order, { name, sameBits, cuts }] of familiesOf(device, slots, matrix).entries()) {
    const errors: number[] = [];
    let first: Uint32Array | undefined;
    for (const { text, chosen } of cuts) {
      const { bits, relativeError: error } = await check.run(chosen);
      first ??= bits;
      const differing = sameBits ? bits.reduce((sum, word, i) => sum + Number(word !== first![i]), 0) : 0;
      if (!(error < tolerances[arithmetic]) || differing > 0) {
        throw new MismatchError(
          `${questionKey(name, slots, arithmetic)}, ${text}: error ${error}, and ${differing} of ${bits.length} values differ from those of ${cuts[0]!.text}.`,
        );
      }
      errors.push(error);
    }
    const times = await time(cuts.map(({ work }) => work));
    cuts.forEach(({ text }, i) => {
      swept.push({
        family: name,
        cut: text,
        byDefault: order === 0 && i === 0,
        microseconds: times[i]! / 1e3,
        bytesPerSecond: ((codes + scales) / times[i]!) * 1e9,
        flopsPerSecond: ((2 * matrix.rows * width * outputs * (gated ? 2 : 1)) / times[i]!) * 1e9,
        relativeError: errors[i]!,
      });
    });
  }
  return swept;
}
