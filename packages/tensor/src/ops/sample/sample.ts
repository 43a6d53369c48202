import type { BufferView } from '../../compile/lowering.ts';
import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import { shapeText } from '../../graph/dtype.ts';
import type { NdArray, Operand } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { PathKind } from '../penalties/penalties.wgsl.ts';
import { maxPathRows } from '../penalties/penalties.wgsl.ts';
import { penalise, sampleRow } from './sample.reference.ts';
import { samplePickKernel, sampleScanKernel, scanPartials, scanWorkgroups } from './sample.wgsl.ts';
import type { UnpackedSampling } from './settings.ts';
import { checkSettings, unpackSampling } from './settings.ts';

/** Which drafts each row stands on. Row 0 is the anchor, which `counts` holds already; a row's path ends below it. */
export interface SamplePath {
  /** `[M]` u32: token of each row. */
  readonly tokens: Tensor;
  /** `[M]` u32: parent row, smaller than the row's own. Without it each row follows the one before. */
  readonly parents?: Tensor;
}

/** What sampling needs beside the logits. */
export interface SampleOptions {
  /** `[16]` u32 words, see {@link packSampling}; read on the device. */
  readonly settings: State;
  /** `[2, V]` u32: how often each token occurs in the context up to and with row 0, and in its generated part. Read if penalties are on. */
  readonly counts: State;
  /** `[M]` u32: position that each row's token will have; it keys the noise. */
  readonly positions: Tensor;
  /** For penalties; without it no row sees another. */
  readonly path?: SamplePath;
  /** Ignore the temperature and take the most likely token (after penalties). */
  readonly greedy?: boolean;
  /** Stream of the noise, 0 by default. */
  readonly stream?: number;
}

interface SampleAttributes {
  readonly path: PathKind;
  readonly greedy: boolean;
  readonly stream: number;
}

/** Logits of a row after the penalties of the context and of its own path: for references. */
export function penalisedRow(
  row: number,
  settings: UnpackedSampling,
  operands: { logits: NdArray; counts: NdArray; tokens?: NdArray | undefined; parents?: NdArray | undefined },
): number[] {
  const { logits, counts, tokens, parents } = operands;
  const vocabSize = logits.shape[1]!;
  const z = Array.from(logits.data.subarray(row * vocabSize, (row + 1) * vocabSize));
  if (!settings.penalised) return z;
  const path = followedPath(row, tokens, parents);
  const onPath = (token: number) => path.filter((one) => one === token).length;
  return penalise(z, settings, {
    context: (token) => counts.data[token]! + onPath(token),
    generated: (token) => counts.data[vocabSize + token]! + onPath(token),
  });
}

function followedPath(row: number, tokens: NdArray | undefined, parents: NdArray | undefined): number[] {
  const path: number[] = [];
  if (!tokens) return path;
  for (let at = row; at > 0; at = parents ? Math.min(parents.data[at]!, at - 1) : at - 1) path.push(tokens.data[at]!);
  return path;
}

const sampleOperation = defineOperation<SampleAttributes>({
  name: 'sample',
  infer: ([logits]) => [{ shape: [(logits as Tensor).shape[0]!], dtype: 'u32' }],
  reference([logits, settings, counts, positions, tokens, parents], { greedy, stream }) {
    const rows = logits!.shape[0]!;
    const unpacked = unpackSampling(settings!.data);
    const data = Float64Array.from({ length: rows }, (_, row) => {
      const z = penalisedRow(row, unpacked, { logits: logits!, counts: counts!, tokens, parents });
      return sampleRow(z, unpacked, { position: positions!.data[row]!, stream, greedy });
    });
    return [{ shape: [rows], dtype: 'u32', data }];
  },
  lower(lowering, { operands, attributes: { path, greedy, stream }, outputs }) {
    const [logits, settings, counts, positions, tokens, parents] = operands as [
      Tensor,
      State,
      State,
      Tensor,
      Tensor?,
      Tensor?,
    ];
    const [rows, vocabSize] = logits.shape as [number, number];
    const constants = { vocabSize, stream, choice: greedy ? 'greedy' : 'drawn' } as const;
    const partialBytes = rows * scanPartials(vocabSize) * 16;
    const penalised = lowering.scratch(rows * vocabSize * 4, 'penalised logits');
    const partial = lowering.scratch(partialBytes, 'partial samples');
    const shared = {
      logits: lowering.tensor(logits),
      positions: lowering.tensor(positions),
      settings: lowering.state(settings),
      penalised,
      partial,
    };
    const pathViews: Record<string, BufferView> = {
      ...(tokens && { pathTokens: lowering.tensor(tokens) }),
      ...(parents && { pathParents: lowering.tensor(parents) }),
    };
    lowering.dispatch(sampleScanKernel(path), {
      constants,
      bindings: { ...shared, ...pathViews, counts: lowering.state(counts) },
      workgroups: [scanWorkgroups(vocabSize), rows, 1],
      bytes: rows * vocabSize * 4,
    });
    lowering.dispatch(samplePickKernel, {
      constants,
      bindings: { ...shared, y: lowering.tensor(outputs[0]!) },
      workgroups: [rows, 1, 1],
      bytes: partialBytes,
    });
  },
});

/** Throws for operands of `name` that do not fit its logits `[M, V]`. */
export function checkSampling(
  name: string,
  logits: Tensor,
  { settings, counts, positions, path }: Omit<SampleOptions, 'positions'> & { positions?: Tensor },
): void {
  if (logits.dtype !== 'f32') throw new DTypeError(`${name}: logits must be f32, got ${logits.dtype}.`);
  if (logits.shape.length !== 2)
    throw new ShapeError(`${name}: expected logits [M, V], got ${shapeText(logits.shape)}.`);
  const [rows, vocabSize] = logits.shape as [number, number];
  if (rows > 65_535) throw new ShapeError(`${name}: at most 65535 rows at once, got ${rows}.`);
  checkSettings(name, settings);
  if (counts.dtype !== 'u32' || counts.shape.length !== 2 || counts.shape[0] !== 2 || counts.shape[1] !== vocabSize) {
    throw new ShapeError(
      `${name}: counts must be a u32 state [2, ${vocabSize}], got ${counts.dtype} ${shapeText(counts.shape)}.`,
    );
  }
  const columns = { positions, 'path.tokens': path?.tokens, 'path.parents': path?.parents };
  for (const [column, tensor] of Object.entries(columns)) {
    if (tensor && (tensor.dtype !== 'u32' || tensor.shape.length !== 1 || tensor.shape[0] !== rows)) {
      throw new ShapeError(`${name}: ${column} must be u32 [${rows}], got ${tensor.dtype} ${shapeText(tensor.shape)}.`);
    }
  }
  if (path && rows > maxPathRows)
    throw new ShapeError(`${name}: a path is followed over at most ${maxPathRows} rows, got ${rows}.`);
}

/**
 * One token for each row of logits, as the settings on the device say, so that one program serves all of them. In the order of
 * transformers: repetition penalty, then frequency and presence penalties on what was generated, division by the temperature,
 * top-k, top-p, min-p; then `argmax(z / T + gumbel(seed, position, token))` over what is left, which draws from its softmax.
 * At temperature 0 the largest penalised logit, the lowest token of equal ones. Tokens that equal the last one that top-k or top-p
 * keeps are kept too. A row's token does not depend on the rows beside it.
 *
 * @param logits `[M, V]` f32; -infinity excludes a token
 * @returns `[M]` u32; 0xffffffff where a row held NaN or +infinity, or excluded every token
 * @throws {@link ShapeError}, {@link DTypeError} for operands that do not fit
 */
export function sample(logits: Tensor, options: SampleOptions): Tensor {
  checkSampling('sample', logits, options);
  const { settings, counts, positions, path, greedy = false, stream = 0 } = options;
  if (!Number.isInteger(stream) || stream < 0 || stream > 255) {
    throw new ArgumentError(`sample: stream is an integer from 0 to 255, got ${stream}.`);
  }
  const operands: Operand[] = [logits, settings, counts, positions];
  if (path) operands.push(path.tokens);
  if (path?.parents) operands.push(path.parents);
  const kind = path ? (path.parents ? 'tree' : 'chain') : 'none';
  return logits.graph.apply(sampleOperation, operands, { path: kind, greedy, stream })[0]!;
}
