import { type ByteSource, readHeader, type ReadOptions, type SafetensorsEntry } from '@forerun/checkpoints';
import type { Device } from '@forerun/tensor';
import { GoldenFileError } from '../golden-file.ts';

/** A tensor of a case, whatever its dtype, in float64. */
export interface CaseTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** The list of facts in a case's case.json; what a runner takes out of it, it has to check itself. */
export type CaseFacts = Readonly<Record<string, unknown>>;

/** One folder of golden outputs of speculative decoding. */
export interface SpeculativeCase {
  /** `case` of its case.json. */
  readonly name: string;
  readonly facts: CaseFacts;
  readonly source: ByteSource;
  readonly device: Device;
  /** Names of the tensors of golden.safetensors. */
  readonly names: readonly string[];
  /** Whether golden.safetensors has the tensor. */
  has(name: string): boolean;
  /** A tensor of golden.safetensors. */
  tensor(name: string): Promise<CaseTensor>;
  /** The folder of another case beside this one, whose models it uses. */
  beside(name: string): ByteSource;
}

const arrays = {
  F64: Float64Array,
  F32: Float32Array,
  I64: BigInt64Array,
  I32: Int32Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

const goldenName = 'golden.safetensors';

/** How a case is opened. */
export interface OpenCaseOptions extends ReadOptions {
  /** The folder of another case of the same set. */
  readonly beside: (name: string) => ByteSource;
}

/**
 * Opens the case in a folder.
 *
 * @throws GoldenFileError for a case.json that is no object with a name
 */
export async function openCase(
  source: ByteSource,
  device: Device,
  { beside, ...options }: OpenCaseOptions,
): Promise<SpeculativeCase> {
  const where = source.describe();
  const text = await source.readWhole('case.json', { ...options, maxBytes: 1 << 24 });
  const facts = parseFacts(new TextDecoder().decode(text), where);
  const entries = new Map<string, SafetensorsEntry>();
  if (await source.exists(goldenName, options)) {
    for (const entry of (await readHeader(source, goldenName, options)).entries) entries.set(entry.name, entry);
  }
  return {
    name: facts['case'] as string,
    facts,
    source,
    device,
    beside,
    names: [...entries.keys()],
    has: (name) => entries.has(name),
    async tensor(name) {
      const entry = entries.get(name);
      if (!entry || !(entry.dtype in arrays)) {
        throw new GoldenFileError(`${where}/${goldenName}: expected a tensor ${name}, got ${entry?.dtype ?? 'none'}.`);
      }
      const bytes = await source.read(goldenName, entry.begin, entry.end, options);
      const values = new arrays[entry.dtype as keyof typeof arrays](bytes.slice().buffer);
      return { shape: entry.shape, data: Float64Array.from(values as ArrayLike<number | bigint>, Number) };
    },
  };
}

function parseFacts(text: string, where: string): CaseFacts {
  try {
    const facts: unknown = JSON.parse(text);
    if (typeof facts === 'object' && facts !== null && typeof (facts as CaseFacts)['case'] === 'string') {
      return facts as CaseFacts;
    }
  } catch (error) {
    throw new GoldenFileError(`${where}/case.json is no JSON.`, { cause: error });
  }
  throw new GoldenFileError(`${where}/case.json: expected an object with the name of the case in "case".`);
}

/** Rows of a matrix. */
export function rowsOf({ shape, data }: CaseTensor): Float64Array[] {
  const width = shape.at(-1)!;
  return Array.from({ length: data.length / width }, (_, row) => data.subarray(row * width, (row + 1) * width));
}

/** Runs a check for each of a list and gives the first difference, with the name of where it was. */
export async function firstDifference<One>(
  list: Iterable<One>,
  check: (one: One) => Promise<string | undefined> | string | undefined,
): Promise<string | undefined> {
  let seen = 0;
  for (const one of list) {
    seen++;
    const difference = await check(one);
    if (difference !== undefined) return difference;
  }
  return seen > 0 ? undefined : 'the case has nothing to check';
}

/** What differs between two lists of integers, if anything does. */
export function listDifference(what: string, got: readonly number[], want: readonly number[]): string | undefined {
  if (got.length === want.length && got.every((value, i) => value === want[i])) return undefined;
  return `${what}: got ${got.join(' ')}, expected ${want.join(' ')}`;
}

/** What differs between two lists of numbers by more than `most`. */
export function numberDifference(
  what: string,
  { got, want, most }: { readonly got: ArrayLike<number>; readonly want: ArrayLike<number>; readonly most: number },
): string | undefined {
  let worst = got.length === want.length ? 0 : Infinity;
  for (let i = 0; i < want.length; i++) {
    const off = Math.abs(got[i]! - want[i]!);
    worst = Number.isNaN(off) ? Infinity : Math.max(worst, off);
  }
  return worst <= most
    ? undefined
    : `${what}: off by ${worst.toExponential(2)}, at most ${most.toExponential(0)} is allowed`;
}

/**
 * The relative norm of a difference that a case allows.
 *
 * @throws GoldenFileError for a case whose tolerance names none
 */
export function toleranceOf({ facts, source }: SpeculativeCase): number {
  const text = facts['tolerance'];
  const found = typeof text === 'string' ? /relative norm <= ([\d.]+(?:e-?\d+)?)/.exec(text) : null;
  if (!found) {
    throw new GoldenFileError(
      `${source.describe()}/case.json: expected a tolerance with "relative norm <= …", got ${JSON.stringify(text)}.`,
    );
  }
  return Number(found[1]);
}

/** What differs between a tensor of the case and what was computed for it: ‖got − want‖ / ‖want‖ above the case's tolerance. */
export async function normDifference(
  one: SpeculativeCase,
  name: string,
  got: ArrayLike<number>,
): Promise<string | undefined> {
  const { shape, data: want } = await one.tensor(name);
  if (got.length !== want.length) {
    return `${name}: got ${got.length} numbers, expected [${shape.join(', ')}]`;
  }
  let [difference, norm] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2;
    norm += want[i]! ** 2;
  }
  const error = difference === 0 ? 0 : Math.sqrt(difference / norm);
  const most = toleranceOf(one);
  return error <= most
    ? undefined
    : `${name}: relative error ${error.toExponential(2)}, at most ${most.toExponential(0)} is allowed`;
}
