import type { Device } from '../device/device.ts';
import type { Operand } from '../graph/operation.ts';
import type { State } from '../graph/state.ts';
import type { Tensor } from '../graph/tensor.ts';
import type { Weight } from '../graph/weight.ts';
import type { Kernel } from '../kernel/define-kernel.ts';
import type { Grid } from '../kernel/grid.ts';
import type { ChoiceTable } from './choices.ts';

/** Where a binding's bytes live: scratch of this program, or something that outlives it. */
export type BufferSource =
  | { readonly kind: 'scratch'; readonly id: number; readonly bytes: number; readonly label: string }
  | { readonly kind: 'state'; readonly state: State }
  | {
      readonly kind: 'weight';
      readonly store: WeightResolver;
      readonly placement: object;
      readonly array: 'codes' | 'scales';
    }
  | { readonly kind: 'fixed'; readonly buffer: GPUBuffer };

/** Finds the buffer of a placed weight once memory has been taken. */
export interface WeightResolver {
  resolve(placement: object, array: 'codes' | 'scales'): GPUBuffer;
}

/** A stretch of a buffer, bound as a whole; the offset is a multiple of 256. */
export interface BufferView {
  readonly source: BufferSource;
  readonly offsetBytes?: number;
  readonly bytes?: number;
}

/** Rows `rowBegin ..< rowEnd` of a weight, as one kernel can bind them. */
export interface WeightPart {
  readonly rowBegin: number;
  readonly rowEnd: number;
  /** Values or codes; the part's first row is row `rowOffset` of this view. */
  readonly codes: BufferView;
  /** f16 scales in pairs, for q8 and q4; index = (row of the view) * blocks + block. */
  readonly scales: BufferView | undefined;
  readonly rowOffset: number;
}

/** One dispatch as an operation asks for it. */
export interface DispatchRequest<Constants, Bindings extends string, Uniforms extends string> {
  readonly constants: Constants;
  readonly uniforms?: Readonly<Record<Uniforms, number>>;
  readonly bindings: Readonly<Record<Bindings, BufferView>>;
  /** Workgroups; a function where they follow from the host's bound on the length of the context. */
  readonly workgroups: Grid | ((bound: number) => Grid);
  /** What `explain` calls it; the kernel's name without. */
  readonly label?: string;
  /** How the kernel was cut, and what the choice table knows of it, in words for `explain`. */
  readonly choice?: string;
  /** Bytes read and written, for the floor; a function of the bound where it depends on it. */
  readonly bytes?: number | ((bound: number) => number);
  /** Floating-point operations, for the floor; a function of the bound where it depends on it. */
  readonly flops?: number | ((bound: number) => number);
}

/**
 * Precision of products and of the sums of a few: f32; f16, or i8 (both factors in 8 bits with a scale for each block of 32), where an
 * operation has a kernel for it.
 */
export type Arithmetic = 'f32' | 'f16' | 'i8';

/**
 * Rows of an activation as a matrix kernel of whole blocks reads them (`ops/linear/prepared-rows.wgsl.ts`). Forms are the same when all of
 * their fields are.
 */
export interface PreparedForm {
  readonly arithmetic: Arithmetic;
  /** Lanes along K of the kernel that reads them. */
  readonly lanes: number;
  /** K. */
  readonly width: number;
  /** The root-mean-square norm in front of the matrix: rows come times `gain + offset`, with their squares. */
  readonly norm?: { readonly gain: Weight | undefined; readonly offset: number };
}

/** A tensor that a node reads prepared, and in which form. */
export interface PreparedRead {
  readonly tensor: Tensor;
  readonly form: PreparedForm;
  readonly rowBytes: number;
}

/** An output that is wanted prepared. */
export interface PreparedOutput {
  readonly form: PreparedForm;
  /** The rows, which the node writes. */
  readonly rows: BufferView;
  /** Whether somebody reads its plain values too. */
  readonly plain: boolean;
}

/** What is known before the first node is lowered. */
export type LoweringContext = Pick<Lowering, 'device' | 'arithmetic' | 'choices' | 'weight' | 'weights'>;

/** What an operation sees while it chooses its kernels. */
export interface Lowering {
  readonly device: Device;
  /** What was asked for; the device has `shader-f16` when it is f16, and packed integer products when it is i8. */
  readonly arithmetic: Arithmetic;
  /** Which of several kernels of the same bits is fastest here; without, operations take their defaults. */
  readonly choices?: ChoiceTable | undefined;
  /** The buffer of an activation. */
  tensor(tensor: Operand): BufferView;
  /** The buffer of a state. */
  state(state: Operand): BufferView;
  /** Where a weight lies, in parts that the device can bind. */
  weight(weight: Operand): readonly WeightPart[];
  /** Where weights that are read together lie, if they are adjacent rows of one part; undefined otherwise. */
  weights(weights: readonly Weight[]): WeightPart | undefined;
  /** The rows of a tensor in a form, where what made it wrote them so. */
  prepared(tensor: Tensor, form: PreparedForm): BufferView | undefined;
  /** The form in which an output is wanted, if any. */
  wanted(output: Tensor): PreparedOutput | undefined;
  /** Makes `output` another name for `view`. */
  alias(output: Tensor, view: BufferView): void;
  /** Scratch for this node alone. */
  scratch(bytes: number, label: string): BufferView;
  /** Appends a dispatch. */
  dispatch<Constants extends object, Bindings extends string, Uniforms extends string>(
    kernel: Kernel<Constants, Bindings, Uniforms>,
    request: DispatchRequest<Constants, Bindings, Uniforms>,
  ): void;
}
