import { ShapeError } from '../errors.ts';
import { elementwise } from '../ops/elementwise/elementwise.ts';
import type { Expression } from '../ops/elementwise/expression.ts';
import { apply, input, literal } from '../ops/elementwise/expression.ts';
import { reshape as reshapeOperation } from '../ops/reshape/reshape.ts';
import type { DType } from './dtype.ts';
import { elementCount, shapeText } from './dtype.ts';
import type { Graph } from './graph.ts';

/**
 * An immutable, symbolic value of a traced program. Binary methods broadcast as NumPy does and take a number for a constant.
 * Nothing is computed when a method is called: it only records what the program will do.
 */
export class Tensor {
  readonly graph: Graph;
  readonly id: number;
  /** Dimensions, outermost first. */
  readonly shape: readonly number[];
  readonly dtype: DType;

  constructor(graph: Graph, id: number, shape: readonly number[], dtype: DType) {
    this.graph = graph;
    this.id = id;
    this.shape = [...shape];
    this.dtype = dtype;
  }

  /** `x + y`. */
  add(other: Tensor | number): Tensor {
    return this.#binary('add', other);
  }
  /** `x - y`. */
  sub(other: Tensor | number): Tensor {
    return this.#binary('sub', other);
  }
  /** `x * y`. */
  mul(other: Tensor | number): Tensor {
    return this.#binary('mul', other);
  }
  /** `x / y`; integers truncate. */
  div(other: Tensor | number): Tensor {
    return this.#binary('div', other);
  }
  /** `min(x, y)`. */
  min(other: Tensor | number): Tensor {
    return this.#binary('min', other);
  }
  /** `max(x, y)`. */
  max(other: Tensor | number): Tensor {
    return this.#binary('max', other);
  }
  /** 1 (u32) where `x == y`, else 0. */
  equal(other: Tensor | number): Tensor {
    return this.#binary('equal', other);
  }
  /** 1 (u32) where `x < y`, else 0. */
  less(other: Tensor | number): Tensor {
    return this.#binary('less', other);
  }
  /** `-x`. */
  neg(): Tensor {
    return this.#unary('neg');
  }
  /** `e^x`. */
  exp(): Tensor {
    return this.#unary('exp');
  }
  /** `ln x`. */
  log(): Tensor {
    return this.#unary('log');
  }
  /** `sqrt(x)`. */
  sqrt(): Tensor {
    return this.#unary('sqrt');
  }
  /** `1 / sqrt(x)`. */
  rsqrt(): Tensor {
    return this.#unary('rsqrt');
  }
  /** `|x|`. */
  abs(): Tensor {
    return this.#unary('abs');
  }
  /** `tanh x`. */
  tanh(): Tensor {
    return this.#unary('tanh');
  }
  /** `1 / (1 + e^-x)`. */
  sigmoid(): Tensor {
    return this.#unary('sigmoid');
  }
  /** `x * sigmoid(x)`. */
  silu(): Tensor {
    return this.#unary('silu');
  }
  /** `max(x, 0)`. */
  relu(): Tensor {
    return this.#unary('relu');
  }
  /** Gaussian error linear unit, exact form: `x/2 * (1 + erf(x / sqrt 2))`. */
  gelu(): Tensor {
    return this.#unary('gelu');
  }
  /** Gaussian error linear unit, tanh form. */
  geluTanh(): Tensor {
    return this.#unary('gelu-tanh');
  }
  /** `this != 0 ? yes : no`; `this` is u32. */
  select(yes: Tensor | number, no: Tensor | number): Tensor {
    return this.#combine('select', [this, yes, no]);
  }
  /** The same numbers in another dtype: f32 to integers truncates. */
  to(dtype: DType): Tensor {
    return dtype === this.dtype ? this : this.#unary(`to-${dtype}`);
  }

  /** The same elements in another shape; one dimension may be -1. */
  reshape(shape: readonly number[]): Tensor {
    const known = shape.reduce((product, size) => (size === -1 ? product : product * size), 1);
    const resolved = shape.map((size) => (size === -1 ? elementCount(this.shape) / known : size));
    if (elementCount(resolved) !== elementCount(this.shape) || resolved.some((size) => !Number.isInteger(size))) {
      throw new ShapeError(
        `reshape: expected a shape of ${elementCount(this.shape)} elements (from ${shapeText(this.shape)}), got ${shapeText(shape)}.`,
      );
    }
    return this.graph.apply(reshapeOperation, [this], { shape: resolved })[0]!;
  }

  #unary(name: string): Tensor {
    return this.#combine(name, [this]);
  }

  #binary(name: string, other: Tensor | number): Tensor {
    return this.#combine(name, [this, other]);
  }

  #combine(name: string, values: readonly (Tensor | number)[]): Tensor {
    const tensors: Tensor[] = [];
    const dtype = values.find((value) => value instanceof Tensor && value !== this) ? undefined : this.dtype;
    const args = values.map((value): Expression => {
      if (typeof value === 'number') {
        const other = name === 'select' ? values.slice(1).find((v) => v instanceof Tensor) : undefined;
        return literal(value, other?.dtype ?? (name === 'select' ? 'f32' : (dtype ?? this.dtype)));
      }
      tensors.push(value);
      return input(tensors.length - 1, value.dtype);
    });
    return this.graph.apply(elementwise, tensors, { expression: apply(name, args) })[0]!;
  }
}
