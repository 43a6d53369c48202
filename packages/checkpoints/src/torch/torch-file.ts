import { TorchFileError } from '../errors.ts';
import { dtypeBits, type SafetensorsDType } from '../safetensors/dtype.ts';
import type { SafetensorsEntry, SafetensorsHeader } from '../safetensors/header.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { type Pickled, type PickledList, PickledName, readPickle } from './pickle.ts';
import { conversionAdvice, type ZipEntry, ZipDirectory } from './zip-directory.ts';

const storageDTypes: Readonly<Record<string, SafetensorsDType>> = {
  'torch.FloatStorage': 'F32',
  'torch.DoubleStorage': 'F64',
  'torch.HalfStorage': 'F16',
  'torch.BFloat16Storage': 'BF16',
  'torch.LongStorage': 'I64',
  'torch.IntStorage': 'I32',
  'torch.ShortStorage': 'I16',
  'torch.CharStorage': 'I8',
  'torch.ByteStorage': 'U8',
  'torch.BoolStorage': 'BOOL',
};
const callable = new Set([
  'collections.OrderedDict',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_parameter',
]);
/** The pickle of a state dictionary holds names and shapes alone: some hundred bytes a tensor. */
const maxPickleBytes = 64 << 20;
const maxElements = 2 ** 40;

/** Bytes of one storage, as the pickle names it. */
class Storage {
  readonly dtype: SafetensorsDType;
  readonly key: string;
  constructor(dtype: SafetensorsDType, key: string) {
    this.dtype = dtype;
    this.key = key;
  }
}

/** A tensor as the pickle describes it. */
class TorchTensor {
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  constructor(storage: Storage, offset: number, [shape, strides]: readonly [readonly number[], readonly number[]]) {
    this.storage = storage;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
  }
}

/** Whether a file is one of PyTorch's by its name. */
export function isTorchFile(path: string): boolean {
  return /\.(pt|pth|bin)$/.test(path);
}

/**
 * Reads what a PyTorch file (`torch.save` of a state dictionary, PyTorch 1.6 or newer) holds: names, dtypes, shapes, and where the bytes
 * of each tensor lie in the file. Its pickle is read as data by an interpreter that knows the names of tensor types and nothing else, so
 * no code of the file is ever run.
 *
 * @throws TorchFileError for a file that is anything else, with the command that converts it: other objects than tensors, tensors that
 *   are not contiguous, compressed or damaged archives.
 */
export async function readTorchHeader(
  source: ByteSource,
  path: string,
  options: ReadOptions = {},
): Promise<SafetensorsHeader> {
  const where = `${source.describe()}/${path}`;
  const advice = conversionAdvice(path);
  const refuse = (why: string) => new TorchFileError(`${where}: ${why}. ${advice}`);
  const directory = await ZipDirectory.read(source, path, options);
  const pickles = directory.names.filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickleName] = pickles;
  if (pickleName === undefined || pickles.length > 1)
    throw refuse(`expected one data.pkl in its archive, found ${pickles.length}`);
  const prefix = pickleName.slice(0, -'data.pkl'.length);
  await checkByteOrder(directory, { source, path, name: `${prefix}byteorder` }, refuse);
  const pickle = await directory.entry(pickleName, options);
  if (pickle.end - pickle.begin > maxPickleBytes)
    throw refuse(`its pickle has ${pickle.end - pickle.begin} bytes, expected at most ${maxPickleBytes}`);
  const root = readPickle(await source.read(path, pickle.begin, pickle.end, options), {
    known: (name) => callable.has(name) || Object.hasOwn(storageDTypes, name),
    call: (name, args) => calls[name as keyof typeof calls]?.(args, refuse) ?? misused(name, refuse),
    persistent: (id) => storageOf(id, refuse),
    where,
    advice,
  });
  if (!(root instanceof Map)) throw refuse('expected a mapping of names to tensors');
  const storages = new Map<string, ZipEntry>();
  const entries: SafetensorsEntry[] = [];
  for (const [name, tensor] of root as ReadonlyMap<Pickled, Pickled>) {
    if (typeof name !== 'string' || !(tensor instanceof TorchTensor))
      throw refuse(`entry ${shown(name)} is not a tensor`);
    const { key } = tensor.storage;
    const storage = storages.get(key) ?? (await directory.entry(`${prefix}data/${key}`, options));
    storages.set(key, storage);
    entries.push({ name, ...placed(tensor, storage, (why) => refuse(`tensor ${shown(name)} ${why}`)) });
  }
  entries.sort((a, b) => a.begin - b.begin);
  return { entries, metadata: new Map() };
}

type Refuse = (why: string) => TorchFileError;

async function checkByteOrder(
  directory: ZipDirectory,
  { source, path, name }: { source: ByteSource; path: string; name: string },
  refuse: Refuse,
): Promise<void> {
  if (!directory.names.includes(name)) return;
  const { begin, end } = await directory.entry(name);
  const order = end - begin > 16 ? '' : new TextDecoder().decode(await source.read(path, begin, end));
  if (order !== 'little') throw refuse(`its byte order is ${JSON.stringify(order)}, expected "little"`);
}

const calls = {
  'collections.OrderedDict'(args: PickledList, refuse: Refuse): Pickled {
    if (args.length > 0) throw refuse('an OrderedDict is made from arguments');
    return new Map();
  },
  'torch._utils._rebuild_parameter'([data]: PickledList, refuse: Refuse): Pickled {
    if (!(data instanceof TorchTensor)) throw refuse('a parameter is made of something else than a tensor');
    return data;
  },
  'torch._utils._rebuild_tensor_v2'([storage, offset, shape, strides]: PickledList, refuse: Refuse): Pickled {
    if (!(storage instanceof Storage) || !isCount(offset) || !areCounts(shape) || !areCounts(strides))
      throw refuse('a tensor is described by something else than a storage and sizes');
    if (shape.length !== strides.length || shape.length > 8)
      throw refuse('a tensor has sizes and strides of two ranks');
    return new TorchTensor(storage, offset, [shape, strides]);
  },
};

function misused(name: string, refuse: Refuse): never {
  throw refuse(`${name} is called, which is no function`);
}

function storageOf(id: Pickled, refuse: Refuse): Storage {
  const [kind, type, key] = Array.isArray(id) ? (id as PickledList) : [];
  const dtype = type instanceof PickledName ? storageDTypes[type.name] : undefined;
  if (kind !== 'storage' || !dtype || typeof key !== 'string' || !/^[0-9A-Za-z_]{1,64}$/.test(key))
    throw refuse('a storage is named in a way that torch.save does not use');
  return new Storage(dtype, key);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function areCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(isCount);
}

function shown(name: Pickled): string {
  return JSON.stringify(typeof name === 'string' ? name.slice(0, 100) : '(no name)');
}

/** Where a tensor's bytes lie; a view that skips or repeats elements has no such place. */
function placed(
  { storage, offset, shape, strides }: TorchTensor,
  { begin, end }: ZipEntry,
  refuse: Refuse,
): Omit<SafetensorsEntry, 'name'> {
  let elements = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis]! > 1 && strides[axis] !== elements) throw refuse('is a view that is not contiguous');
    elements *= shape[axis]!;
    if (elements > maxElements) throw refuse(`claims more than ${maxElements} elements`);
  }
  const bytes = dtypeBits[storage.dtype] / 8;
  const from = begin + offset * bytes;
  const to = from + elements * bytes;
  if (!(to <= end)) throw refuse(`ends at byte ${to - begin} of a storage of ${end - begin} bytes`);
  return { dtype: storage.dtype, shape, begin: from, end: to };
}
