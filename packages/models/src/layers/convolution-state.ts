/**
 * What short convolutions keep of a conversation: their inputs by position, in a ring. The last k - 1 inputs of kept tokens are the whole
 * recurrent state, so verifying a chain copies nothing and keeping a part of it moves nothing: the loop's length alone says which inputs
 * count, and rejected ones are overwritten before anything reads them. Behind the ring lie the inputs before a few marks.
 */
import { type DecoderState, type DecoderStateOptions, markSlots, type Past, type Rows } from '@forerun/contracts';
import {
  argmax,
  ArgumentError,
  copyRows,
  readState,
  reduce,
  shortConvolution,
  State,
  type Tensor,
  type Weight,
  writeState,
} from '@forerun/tensor';

/** Sizes of the convolutions of a model. */
export interface ConvolutionShape {
  readonly layers: number;
  /** Channels, D. */
  readonly hiddenSize: number;
  /** Taps, k: how many inputs, the row's own included, an output sees. */
  readonly kernelSize: number;
}

/** What a convolution layer needs to take in rows. */
export interface ConvolutionTaps {
  /** `[D, 1, k]` f32. */
  readonly weight: Weight;
  /** `[D]` f32. */
  readonly bias?: Weight | undefined;
}

/** The recurrent state of all convolutions of a model. */
export interface ConvolutionState extends DecoderState {
  /** Convolves the rows of the convolution `index`, counted from 0, and records them: `[M, D]` to `[M, D]`. */
  convolve(index: number, x: Tensor, taps: ConvolutionTaps, rows: Rows): Tensor;
}

/** Most rows of one verify pass; those that were rejected lie in the ring too. */
const widestRows = 64;

/**
 * Declares the record of short convolutions in f32, whatever the type of cached keys and values: it is small, and a mark restores it to
 * the bit.
 *
 * @throws ArgumentError for a capacity that is not a positive integer.
 */
export function convolutionState(
  shape: ConvolutionShape,
  capacityTokens: number,
  { rollbackTokens, name = 'convolution' }: DecoderStateOptions,
): ConvolutionState {
  if (!Number.isSafeInteger(capacityTokens) || capacityTokens < 1) {
    throw new ArgumentError(`${name}: expected a capacity of at least 1 token, got ${capacityTokens}.`);
  }
  const { layers, hiddenSize: D, kernelSize } = shape;
  const past = Math.max(kernelSize - 1, 1);
  const retained = rollbackTokens + widestRows;
  const ringRows = Math.max(past, Math.min(capacityTokens, past + retained));
  const records = Array.from(
    { length: layers },
    (_, layer) => new State({ name: `${name}.${layer}.inputs`, shape: [ringRows + markSlots * past, D], dtype: 'f32' }),
  );
  const marks = new State({ name: `${name}.marks`, shape: [markSlots], dtype: 'u32' });
  // Rows of the ring that hold the inputs before `length`, and those that hold a mark's.
  const ends = (length: Tensor) => {
    const steps = length.graph.constant(Uint32Array.from({ length: past }, (_, step) => ringRows - past + step));
    const places = length.add(steps);
    return places.sub(places.div(ringRows).mul(ringRows));
  };
  const markRows = (slot: Tensor) => {
    const steps = slot.graph.constant(Uint32Array.from({ length: past }, (_, step) => ringRows + step));
    return slot.mul(past).add(steps);
  };

  return {
    states: [...records, marks],
    capacityTokens,
    convolve(index, x, { weight, bias }, rows) {
      const inputs = records[index];
      if (!inputs)
        throw new ArgumentError(`${name}: there is no convolution ${index} in this state, which has ${layers}.`);
      return shortConvolution(x, weight, { inputs, ringRows }, { length: rows.length, count: rows.count, bias });
    },
    commit: () => undefined,
    mark(length) {
      // The slot of an equal mark, or that of the shortest; an empty one counts as 0 tokens.
      const lengths = readState(length.graph, marks);
      const slot = argmax(lengths.equal(length).select(0, lengths.to('f32').neg().sub(1)).reshape([1, markSlots]));
      const own = length.graph.constant(Uint32Array.from({ length: markSlots }, (_, i) => i));
      const used = length.min(1);
      for (const record of records) copyRows(record, ends(length), markRows(slot), used.mul(past));
      writeState(marks, own.equal(slot).mul(used).select(length, lengths));
    },
    truncate(to) {
      const lengths = readState(to.graph, marks);
      const here = lengths.equal(to).mul(to.min(1));
      const slot = argmax(here.to('f32').reshape([1, markSlots]));
      const found = reduce(here, 'sum', { keepDims: true });
      for (const record of records) copyRows(record, markRows(slot), ends(to), found.mul(past));
      writeState(marks, to.less(lengths).select(0, lengths));
    },
    reachable: (length, { restored, written, marks: lengths }: Past) => {
      const kept = ringRows >= capacityTokens ? restored : Math.max(restored, written - retained);
      if (length >= kept) return Math.min(length, capacityTokens);
      return lengths.findLast((mark) => mark <= length) ?? 0;
    },
  };
}
