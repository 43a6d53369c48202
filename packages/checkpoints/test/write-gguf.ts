/** Value types of GGUF's metadata, by number. */
export const valueTypes = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

/** Puts the parts of a GGUF file together, right or wrong. */
export class GgufBytes {
  readonly #bytes: number[] = [];

  u8(...values: readonly number[]): this {
    for (const value of values) this.#bytes.push(value & 255);
    return this;
  }

  u32(value: number): this {
    return this.u8(value, value >>> 8, value >>> 16, value >>> 24);
  }

  u64(value: number | bigint): this {
    const whole = BigInt.asUintN(64, BigInt(value));
    return this.u32(Number(whole & 0xffff_ffffn)).u32(Number(whole >> 32n));
  }

  f32(value: number): this {
    return this.u8(...new Uint8Array(Float32Array.of(value).buffer));
  }

  f64(value: number): this {
    return this.u8(...new Uint8Array(Float64Array.of(value).buffer));
  }

  string(text: string, stated?: number | bigint): this {
    const bytes = new TextEncoder().encode(text);
    return this.u64(stated ?? bytes.length).u8(...bytes);
  }

  /** Magic, version and the two counts. */
  begin(tensors: number | bigint, entries: number | bigint, version = 3): this {
    return this.u8(0x47, 0x47, 0x55, 0x46).u32(version).u64(tensors).u64(entries);
  }

  /** Key and type of an entry, whose value follows. */
  entry(key: string, type: keyof typeof valueTypes): this {
    return this.string(key).u32(valueTypes[type]);
  }

  tensor(
    name: string,
    options: { dimensions: readonly (number | bigint)[]; type?: number; offset?: number | bigint },
  ): this {
    this.string(name).u32(options.dimensions.length);
    for (const size of options.dimensions) this.u64(size);
    return this.u32(options.type ?? 0).u64(options.offset ?? 0);
  }

  /** Zeros up to a multiple of `alignment`, and `bytes` more. */
  data(bytes: number, alignment = 32): this {
    const end = Math.ceil(this.#bytes.length / alignment) * alignment + bytes;
    while (this.#bytes.length < end) this.#bytes.push(0);
    return this;
  }

  done(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }
}

/** What a metadata entry is written from. */
export type WrittenValue =
  | string
  | boolean
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly strings: readonly string[] }
  | { readonly f32s: readonly number[] }
  | { readonly i32s: readonly number[] };

/** Writes one entry of metadata. */
export function writeEntry(file: GgufBytes, key: string, value: WrittenValue): void {
  if (typeof value === 'string') file.entry(key, 'string').string(value);
  else if (typeof value === 'boolean') file.entry(key, 'bool').u8(value ? 1 : 0);
  else if ('u32' in value) file.entry(key, 'u32').u32(value.u32);
  else if ('f32' in value) file.entry(key, 'f32').f32(value.f32);
  else if ('strings' in value) {
    file.entry(key, 'array').u32(valueTypes.string).u64(value.strings.length);
    for (const text of value.strings) file.string(text);
  } else if ('f32s' in value) {
    file.entry(key, 'array').u32(valueTypes.f32).u64(value.f32s.length);
    for (const number of value.f32s) file.f32(number);
  } else {
    file.entry(key, 'array').u32(valueTypes.i32).u64(value.i32s.length);
    for (const number of value.i32s) file.u32(number);
  }
}

/** Metadata of a small llama. */
export const smallLlama: Readonly<Record<string, WrittenValue>> = {
  'general.architecture': 'llama',
  'llama.context_length': { u32: 128 },
  'llama.embedding_length': { u32: 8 },
  'llama.block_count': { u32: 1 },
  'llama.feed_forward_length': { u32: 16 },
  'llama.attention.head_count': { u32: 2 },
  'llama.attention.layer_norm_rms_epsilon': { f32: 1e-5 },
};

/** A GGUF file of this metadata and an embedding of `tokens` rows of 8. */
export function metadataFile(
  metadata: Readonly<Record<string, WrittenValue | undefined>>,
  tokens = 4,
): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(metadata).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, value] as const],
  );
  const file = new GgufBytes().begin(1, entries.length);
  for (const [key, value] of entries) writeEntry(file, key, value);
  return file
    .tensor('token_embd.weight', { dimensions: [8, tokens] })
    .data(tokens * 32)
    .done();
}
