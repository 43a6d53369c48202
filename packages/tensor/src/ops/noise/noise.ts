import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { elementCount, sameShape, shapeText } from '../../graph/dtype.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import { grid } from '../../kernel/grid.ts';
import { checkSettings, unpackSampling } from '../sample/settings.ts';
import { gumbelOf, noiseKind, noiseWord, uniformOf } from './noise.reference.ts';
import { gumbelNoiseKernel, uniformNoiseKernel } from './noise.wgsl.ts';

function checkPositions(name: string, positions: Tensor): void {
  if (positions.dtype !== 'u32') throw new DTypeError(`${name}: positions must be u32, got ${positions.dtype}.`);
  if (positions.shape.length !== 1) {
    throw new ShapeError(`${name}: positions have one dimension [M], got ${shapeText(positions.shape)}.`);
  }
}

function checkStream(name: string, stream: number): void {
  if (!Number.isInteger(stream) || stream < 0 || stream > 255) {
    throw new ArgumentError(`${name}: stream is an integer from 0 to 255, got ${stream}.`);
  }
}

const gumbel = defineOperation<{ readonly width: number; readonly stream: number }>({
  name: 'gumbel-noise',
  infer: ([positions], { width }) => [{ shape: [(positions as Tensor).shape[0]!, width], dtype: 'f32' }],
  reference([positions, settings], { width, stream }) {
    const key = { seed: unpackSampling(settings!.data).seedWords, stream, kind: noiseKind.gumbel };
    const data = Float64Array.from({ length: positions!.data.length * width }, (_, i) =>
      gumbelOf(noiseWord(key, positions!.data[Math.floor(i / width)]!, i % width)),
    );
    return [{ shape: [positions!.data.length, width], dtype: 'f32', data }];
  },
  lower(lowering, { operands, attributes: { width, stream }, outputs }) {
    const rows = (operands[0] as Tensor).shape[0]!;
    lowering.dispatch(gumbelNoiseKernel, {
      constants: { rows, width, stream },
      bindings: {
        positions: lowering.tensor(operands[0]!),
        y: lowering.tensor(outputs[0]!),
        settings: lowering.state(operands[1]!),
      },
      workgroups: grid(Math.ceil((rows * Math.ceil(width / 4)) / 64)),
      bytes: rows * width * 4,
    });
  },
});

const uniform = defineOperation<{ readonly stream: number }>({
  name: 'uniform-noise',
  infer: ([positions]) => [{ shape: (positions as Tensor).shape, dtype: 'f32' }],
  reference([positions, indexes, settings], { stream }) {
    const key = { seed: unpackSampling(settings!.data).seedWords, stream, kind: noiseKind.uniform };
    const data = positions!.data.map((position, i) => uniformOf(noiseWord(key, position, indexes!.data[i]!)));
    return [{ shape: positions!.shape, dtype: 'f32', data }];
  },
  lower(lowering, { operands, attributes: { stream }, outputs }) {
    const count = elementCount((operands[0] as Tensor).shape);
    lowering.dispatch(uniformNoiseKernel, {
      constants: { count, stream },
      bindings: {
        positions: lowering.tensor(operands[0]!),
        indexes: lowering.tensor(operands[1]!),
        y: lowering.tensor(outputs[0]!),
        settings: lowering.state(operands[2]!),
      },
      workgroups: grid(Math.ceil(count / 64)),
      bytes: count * 12,
    });
  },
});

/**
 * Standard Gumbel noise `-ln(-ln(1 - u))` for every token at every position, a pure function of (seed, position, token, stream):
 * adding it to log-probabilities and taking the argmax draws from them (Gumbel 1954).
 *
 * @param positions `[M]` u32
 * @param options.settings `[16]` u32 sampling settings, of which the seed is read on the device
 * @param options.vocabSize tokens 0 ..< `vocabSize`
 * @param options.stream draws of different streams are independent
 * @returns `[M, vocabSize]` f32
 */
export function gumbelNoise(
  positions: Tensor,
  options: { settings: State; vocabSize: number; stream: number },
): Tensor {
  checkPositions('gumbelNoise', positions);
  checkStream('gumbelNoise', options.stream);
  checkSettings('gumbelNoise', options.settings);
  const attributes = { width: options.vocabSize, stream: options.stream };
  return positions.graph.apply(gumbel, [positions, options.settings], attributes)[0]!;
}

/**
 * Uniform noise in [0, 1), multiples of 2^-24: a pure function of (seed, position, index, stream), independent of
 * {@link gumbelNoise}.
 *
 * @param positions `[M]` u32
 * @param indexes `[M]` u32: tells several draws at a position apart
 * @returns `[M]` f32
 */
export function uniformNoise(positions: Tensor, indexes: Tensor, options: { settings: State; stream: number }): Tensor {
  checkPositions('uniformNoise', positions);
  checkPositions('uniformNoise', indexes);
  checkStream('uniformNoise', options.stream);
  checkSettings('uniformNoise', options.settings);
  if (!sameShape(positions.shape, indexes.shape)) {
    throw new ShapeError(
      `uniformNoise: positions ${shapeText(positions.shape)} and indexes ${shapeText(indexes.shape)} differ in shape.`,
    );
  }
  return positions.graph.apply(uniform, [positions, indexes, options.settings], { stream: options.stream })[0]!;
}
