/** Encodes ONNX models: what protobuf puts on the wire for the few messages that a graph needs (onnx.proto3 of ONNX 1.18). */

/** Element types by their numbers in TensorProto. */
export const onnxTypes = { f32: 1, u8: 2, i32: 6, i64: 7, f16: 10 } as const;

/** An element type. */
export type OnnxType = keyof typeof onnxTypes;

const text = new TextEncoder();

function varint(value: number): number[] {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const integer = (field: number, value: number): Uint8Array =>
  Uint8Array.from([...varint(field << 3), ...varint(value)]);

function bytes(field: number, content: Uint8Array | string): Uint8Array {
  const raw = typeof content === 'string' ? text.encode(content) : content;
  return joined([Uint8Array.from([...varint((field << 3) | 2), ...varint(raw.length)]), raw]);
}

function float(field: number, value: number): Uint8Array {
  const raw = new Uint8Array(Float32Array.of(value).buffer);
  return joined([Uint8Array.from(varint((field << 3) | 5)), raw]);
}

/** An attribute: whole numbers are INT, others FLOAT. `{ float }` makes a whole number a FLOAT. */
export type OnnxAttribute = number | { readonly float: number };

function attribute(name: string, value: OnnxAttribute): Uint8Array {
  const whole = typeof value === 'number' && Number.isInteger(value);
  const number = typeof value === 'number' ? value : value.float;
  const content = whole ? [integer(3, number), integer(20, 2)] : [float(2, number), integer(20, 1)];
  return joined([bytes(1, name), ...content]);
}

/** A dimension: a size, or a name for one that the caller decides. */
export type OnnxDimension = number | string;

/** Bytes of a tensor in the file beside the model. */
export interface ExternalBytes {
  readonly offset: number;
  readonly length: number;
}

/** A graph that grows node by node. */
export class OnnxGraph {
  readonly #nodes: Uint8Array[] = [];
  readonly #initializers: Uint8Array[] = [];
  readonly #inputs: Uint8Array[] = [];
  readonly #outputs: Uint8Array[] = [];

  /** A node; its first output names it. An empty name leaves an output out. */
  node(
    type: string,
    inputs: readonly string[],
    outputs: readonly string[],
    options: { readonly domain?: string; readonly attributes?: Readonly<Record<string, OnnxAttribute>> } = {},
  ): string {
    const { domain = '', attributes = {} } = options;
    const parts = [
      ...inputs.map((name) => bytes(1, name)),
      ...outputs.map((name) => bytes(2, name)),
      bytes(3, `${outputs[0]}/${type}`),
      bytes(4, type),
      ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
      ...(domain === '' ? [] : [bytes(7, domain)]),
    ];
    this.#nodes.push(bytes(1, joined(parts)));
    return outputs[0]!;
  }

  /** A constant: its bytes, or where they are in `file`. */
  constant(
    name: string,
    tensor: { readonly type: OnnxType; readonly shape: readonly number[] },
    content: Uint8Array | (ExternalBytes & { readonly file: string }),
  ): string {
    const entry = (key: string, value: string) => bytes(13, joined([bytes(1, key), bytes(2, value)]));
    const place =
      content instanceof Uint8Array
        ? [bytes(9, content)]
        : [
            entry('location', content.file),
            entry('offset', String(content.offset)),
            entry('length', String(content.length)),
            integer(14, 1),
          ];
    const parts = [...tensor.shape.map((size) => integer(1, size)), integer(2, onnxTypes[tensor.type]), bytes(8, name)];
    this.#initializers.push(bytes(5, joined([...parts, ...place])));
    return name;
  }

  /** Declares what the caller gives. */
  input(name: string, type: OnnxType, shape: readonly OnnxDimension[]): string {
    this.#inputs.push(bytes(11, value(name, type, shape)));
    return name;
  }

  /** Declares what the caller gets. */
  output(name: string, type: OnnxType, shape: readonly OnnxDimension[]): void {
    this.#outputs.push(bytes(12, value(name, type, shape)));
  }

  /** The model's bytes. */
  model(name: string): Uint8Array {
    const graph = joined([...this.#nodes, bytes(2, name), ...this.#initializers, ...this.#inputs, ...this.#outputs]);
    const operators = (domain: string, version: number) => bytes(8, joined([bytes(1, domain), integer(2, version)]));
    return joined([integer(1, 10), bytes(7, graph), operators('', 21), operators('com.microsoft', 1)]);
  }
}

function value(name: string, type: OnnxType, shape: readonly OnnxDimension[]): Uint8Array {
  const dimensions = shape.map((size) => bytes(1, typeof size === 'number' ? integer(1, size) : bytes(2, size)));
  const tensor = joined([integer(1, onnxTypes[type]), bytes(2, joined(dimensions))]);
  return joined([bytes(1, name), bytes(2, bytes(1, tensor))]);
}
