import { DTypeError, ShapeError } from '../../errors.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { grid } from '../../kernel/grid.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';
import { embeddingKernel, embeddingWorkgroup } from './embedding.wgsl.ts';

/** Operands: the table and the tokens. */
const embeddingOperation = defineOperation({
  name: 'embedding',
  infer(operands) {
    const [table, tokens] = operands as readonly [Weight, Tensor];
    if (table.shape.length !== 2) {
      throw new ShapeError(`embedding: table "${table.name}" must be [V, D], got ${shapeText(table.shape)}.`);
    }
    if (tokens.dtype !== 'u32') throw new DTypeError(`embedding: tokens must be u32, got ${tokens.dtype}.`);
    return [{ shape: [...tokens.shape, table.width], dtype: 'f32' }];
  },
  reference([table, tokens]) {
    const [vocabulary, width] = table!.shape as readonly [number, number];
    const data = new Float64Array(tokens!.data.length * width);
    tokens!.data.forEach((token, row) => {
      if (token < vocabulary) data.set(table!.data.subarray(token * width, (token + 1) * width), row * width);
    });
    return [{ shape: [...tokens!.shape, width], dtype: 'f32', data }];
  },
  lower(lowering, { operands, outputs }) {
    const [table, tokens] = operands as readonly [Weight, Tensor];
    const rows = elementCount(tokens.shape);
    const kernel = embeddingKernel(table.format, table.width);
    const items = rows * weightReader(table.format, table.width).units;
    for (const { rowBegin, rowEnd, rowOffset, codes, scales } of lowering.weight(table)) {
      lowering.dispatch(kernel, {
        constants: {
          format: table.format,
          width: table.width,
          rows,
          vocabulary: table.rows,
          rowBegin,
          rowEnd,
          rowOffset,
        },
        bindings: {
          codes,
          ...(scales ? { scales } : {}),
          tokens: lowering.tensor(tokens),
          y: lowering.tensor(outputs[0]!),
        },
        workgroups: grid(Math.ceil(items / embeddingWorkgroup)),
        label: `${table.name}: ${kernel.name}`,
        bytes: 4 * (rows + 2 * rows * table.width),
      });
    }
  },
});

/**
 * Rows of a table: `y[…, :] = table[tokens[…], :]`. A token past the table gives zeros.
 *
 * @param table - `[V, D]` in any format; it may lie in several parts.
 * @param tokens - `[...]`, u32.
 * @returns `[..., D]`, f32.
 * @throws ShapeError if the table is not a matrix; DTypeError if the tokens are not u32.
 */
export function embedding(table: Weight, tokens: Tensor): Tensor {
  return tokens.graph.apply(embeddingOperation, [table, tokens], {})[0]!;
}
