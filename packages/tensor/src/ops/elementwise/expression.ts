import { ArgumentError, DTypeError } from '../../errors.ts';
import type { DType } from '../../graph/dtype.ts';

/**
 * A scalar formula over the inputs of an elementwise operation. Fusing two operations is substituting one formula into the other,
 * so one generated kernel does what many would.
 */
export type Expression =
  | { readonly kind: 'input'; readonly index: number; readonly dtype: DType }
  | { readonly kind: 'literal'; readonly value: number; readonly dtype: DType }
  | { readonly kind: 'apply'; readonly name: string; readonly args: readonly Expression[]; readonly dtype: DType };

interface Scalar {
  readonly arity: number;
  /** Dtype of the result from those of the arguments; throws when they do not fit. */
  readonly result: (args: readonly DType[]) => DType;
  readonly wgsl: (args: readonly string[], dtypes: readonly DType[]) => string;
  readonly evaluate: (args: readonly number[], dtypes: readonly DType[]) => number;
}

const same = (name: string) => (args: readonly DType[]) => {
  if (args.some((dtype) => dtype !== args[0])) {
    throw new DTypeError(`${name}: operands must share a dtype, got ${args.join(' and ')}; convert one with .to().`);
  }
  return args[0]!;
};
const float = (name: string) => (args: readonly DType[]) => {
  if (args[0] !== 'f32') throw new DTypeError(`${name}: expected f32, got ${args[0]}; convert it with .to('f32').`);
  return 'f32' as const;
};

const wrap = (value: number, dtype: DType): number => {
  if (dtype === 'u32') return Math.trunc(value) >>> 0;
  return dtype === 'i32' ? Math.trunc(value) | 0 : value;
};

function binary(name: string, wgsl: (a: string, b: string) => string, f: (a: number, b: number) => number): Scalar {
  return {
    arity: 2,
    result: same(name),
    wgsl: ([a, b]) => wgsl(a!, b!),
    evaluate: ([a, b], [dtype]) => wrap(f(a!, b!), dtype!),
  };
}
function compare(name: string, sign: string, f: (a: number, b: number) => boolean): Scalar {
  return {
    arity: 2,
    result: (args) => (same(name)(args), 'u32'),
    wgsl: ([a, b]) => `select(0u, 1u, ${a} ${sign} ${b})`,
    evaluate: ([a, b]) => Number(f(a!, b!)),
  };
}
function unary(name: string, wgsl: (x: string) => string, f: (x: number) => number): Scalar {
  return { arity: 1, result: float(name), wgsl: ([x]) => wgsl(x!), evaluate: ([x]) => f(x!) };
}
function convert(dtype: DType): Scalar {
  return { arity: 1, result: () => dtype, wgsl: ([x]) => `${dtype}(${x})`, evaluate: ([x]) => wrap(x!, dtype) };
}

/** erf by its Taylor series (small |x|) and continued fraction (large), to float64 precision. */
function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 200; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (a + fraction) / Math.sqrt(Math.PI));
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const geluTanh = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** Every scalar function that elementwise operations know: WGSL beside its float64 meaning. */
const scalars: Readonly<Record<string, Scalar>> = {
  add: binary(
    'add',
    (a, b) => `(${a} + ${b})`,
    (a, b) => a + b,
  ),
  sub: binary(
    'sub',
    (a, b) => `(${a} - ${b})`,
    (a, b) => a - b,
  ),
  mul: {
    ...binary(
      'mul',
      (a, b) => `(${a} * ${b})`,
      (a, b) => a * b,
    ),
    evaluate: ([a, b], [dtype]) => (dtype === 'f32' ? a! * b! : wrap(Math.imul(a!, b!), dtype!)),
  },
  div: binary(
    'div',
    (a, b) => `(${a} / ${b})`,
    (a, b) => a / b,
  ),
  min: binary('min', (a, b) => `min(${a}, ${b})`, Math.min),
  max: binary('max', (a, b) => `max(${a}, ${b})`, Math.max),
  equal: compare('equal', '==', (a, b) => a === b),
  less: compare('less', '<', (a, b) => a < b),
  neg: unary(
    'neg',
    (x) => `(-${x})`,
    (x) => -x,
  ),
  exp: unary('exp', (x) => `exp(${x})`, Math.exp),
  log: unary('log', (x) => `log(${x})`, Math.log),
  sqrt: unary('sqrt', (x) => `sqrt(${x})`, Math.sqrt),
  rsqrt: unary(
    'rsqrt',
    (x) => `inverseSqrt(${x})`,
    (x) => 1 / Math.sqrt(x),
  ),
  abs: unary('abs', (x) => `abs(${x})`, Math.abs),
  tanh: unary('tanh', (x) => `tanh(clamp(${x}, -20.0, 20.0))`, Math.tanh),
  sigmoid: unary('sigmoid', (x) => `(1.0 / (1.0 + exp(-${x})))`, sigmoid),
  silu: unary(
    'silu',
    (x) => `silu(${x})`,
    (x) => x * sigmoid(x),
  ),
  relu: unary(
    'relu',
    (x) => `max(${x}, 0.0)`,
    (x) => Math.max(x, 0),
  ),
  gelu: unary(
    'gelu',
    (x) => `gelu(${x})`,
    (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  ),
  'gelu-tanh': unary('gelu-tanh', (x) => `geluTanh(${x})`, geluTanh),
  'to-f32': convert('f32'),
  'to-u32': convert('u32'),
  'to-i32': convert('i32'),
  select: {
    arity: 3,
    result: ([condition, ...branches]) => {
      if (condition !== 'u32') throw new DTypeError(`select: the condition must be u32 (0 or 1), got ${condition}.`);
      return same('select')(branches);
    },
    wgsl: ([condition, yes, no]) => `select(${no}, ${yes}, ${condition} != 0u)`,
    evaluate: ([condition, yes, no]) => (condition! !== 0 ? yes! : no!),
  },
};

function scalar(name: string): Scalar {
  const found = scalars[name];
  if (!found) {
    throw new ArgumentError(`No elementwise function "${name}"; known: ${Object.keys(scalars).join(', ')}.`);
  }
  return found;
}

/** The value of input `index`. */
export function input(index: number, dtype: DType): Expression {
  return { kind: 'input', index, dtype };
}

/** A constant. */
export function literal(value: number, dtype: DType): Expression {
  return { kind: 'literal', value, dtype };
}

/** A known function of other expressions. */
export function apply(name: string, args: readonly Expression[]): Expression {
  const { arity, result } = scalar(name);
  if (args.length !== arity) throw new ArgumentError(`${name}: expected ${arity} arguments, got ${args.length}.`);
  return { kind: 'apply', name, args, dtype: result(args.map((arg) => arg.dtype)) };
}

/** Replaces each input of `expression` by what `replace` returns for its index. */
export function substitute(expression: Expression, replace: (index: number) => Expression): Expression {
  if (expression.kind === 'input') return replace(expression.index);
  if (expression.kind === 'literal') return expression;
  return apply(
    expression.name,
    expression.args.map((arg) => substitute(arg, replace)),
  );
}

/** Number of function applications in the formula. */
export function size(expression: Expression): number {
  return expression.kind === 'apply' ? 1 + expression.args.reduce((sum, arg) => sum + size(arg), 0) : 0;
}

/** The formula in float64; integers wrap as on the device. */
export function evaluate(expression: Expression, inputs: readonly number[]): number {
  if (expression.kind === 'input') return inputs[expression.index]!;
  if (expression.kind === 'literal') return expression.value;
  return scalar(expression.name).evaluate(
    expression.args.map((arg) => evaluate(arg, inputs)),
    expression.args.map((arg) => arg.dtype),
  );
}

/** A number as a WGSL literal of its dtype. */
export function wgslLiteral(value: number, dtype: DType): string {
  if (dtype !== 'f32') return `${dtype}(${Math.trunc(value)})`;
  if (!Number.isFinite(value)) throw new ArgumentError(`A constant in a program must be finite, got ${value}.`);
  return Number.isInteger(value) && Math.abs(value) < 1e9 ? `${value}.0` : `${Math.fround(value)}f`;
}

/** The formula in WGSL, where input i is the expression `inputs[i]`. */
export function wgsl(expression: Expression, inputs: readonly string[]): string {
  if (expression.kind === 'input') return inputs[expression.index]!;
  if (expression.kind === 'literal') return wgslLiteral(expression.value, expression.dtype);
  return scalar(expression.name).wgsl(
    expression.args.map((arg) => wgsl(arg, inputs)),
    expression.args.map((arg) => arg.dtype),
  );
}
