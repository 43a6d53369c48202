/**
 * Reads the data of a pickle as `torch.save` writes it, without running it: numbers, texts, lists, mappings, and calls of a handful of
 * names that a table turns into plain data. Any other name, and any opcode that builds objects, is refused.
 *
 * Source: the opcodes as documented in CPython's `pickletools`; protocols 2 to 5.
 */
import { TorchFileError } from '../errors.ts';

/** What a pickle can hold here. Mappings are `Map`s, so that no key can reach a prototype. */
export type Pickled =
  | number
  | string
  | boolean
  | null
  | PickledName
  | PickledList
  | ReadonlyMap<Pickled, Pickled>
  | object;

/** A list or a tuple. */
export type PickledList = readonly Pickled[];

/** A name that the pickle refers to, such as `torch.FloatStorage`; never looked up. */
export class PickledName {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** What known names and persistent ids mean. */
export interface PickleMeanings {
  /** Names that may occur at all. */
  known(name: string): boolean;
  /** The data that a call of a known name stands for. */
  call(name: string, args: PickledList): Pickled;
  /** The data that a persistent id stands for. */
  persistent(id: Pickled): Pickled;
  /** Where the pickle comes from, and what to do when it cannot be read. */
  readonly where: string;
  readonly advice: string;
}

const mark = Symbol('mark');
type Item = Pickled | typeof mark;

class Pickle {
  readonly #bytes: Uint8Array;
  readonly #words: DataView;
  readonly #meanings: PickleMeanings;
  readonly #stack: Item[] = [];
  readonly #memo = new Map<number, Pickled>();
  #at = 0;

  constructor(bytes: Uint8Array, meanings: PickleMeanings) {
    this.#bytes = bytes;
    this.#words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#meanings = meanings;
  }

  run(): Pickled {
    for (;;) {
      const code = String.fromCharCode(this.#byte());
      if (code === '.') return this.#pop();
      const step = Object.hasOwn(steps, code) ? steps[code] : undefined;
      if (!step) throw this.refuse(`opcode 0x${code.charCodeAt(0).toString(16)} builds objects`);
      step(this);
    }
  }

  refuse(why: string): TorchFileError {
    const { where, advice } = this.#meanings;
    return new TorchFileError(`${where}: byte ${this.#at} of its pickle: ${why}. ${advice}`);
  }

  #take(count: number): number {
    const at = this.#at;
    if (count < 0 || at + count > this.#bytes.length) throw this.refuse('it is cut off');
    this.#at += count;
    return at;
  }

  #byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  unsigned(bytes: 1 | 2 | 4): number {
    const at = this.#take(bytes);
    if (bytes === 1) return this.#bytes[at]!;
    return bytes === 2 ? this.#words.getUint16(at, true) : this.#words.getUint32(at, true);
  }

  signed(): number {
    return this.#words.getInt32(this.#take(4), true);
  }

  float(): number {
    return this.#words.getFloat64(this.#take(8), false);
  }

  /** A little-endian integer in two's complement, of at most 8 bytes. */
  long(count: number): number {
    const at = this.#take(count);
    if (count > 8) throw this.refuse(`an integer of ${count} bytes`);
    let value = 0n;
    for (let i = 0; i < count; i++) value |= BigInt(this.#bytes[at + i]!) << BigInt(8 * i);
    return Number(BigInt.asIntN(8 * count, value));
  }

  text(count: number): string {
    const at = this.#take(count);
    return new TextDecoder().decode(this.#bytes.subarray(at, at + count));
  }

  line(): string {
    const end = this.#bytes.indexOf(10, this.#at);
    if (end < 0) throw this.refuse('it is cut off');
    const text = this.text(end - this.#at);
    this.#take(1);
    return text;
  }

  skip(count: number): void {
    this.#take(count);
  }

  push(item: Item): void {
    this.#stack.push(item);
  }

  #pop(): Pickled {
    const item = this.#stack.pop();
    if (item === undefined || item === mark) throw this.refuse('its stack is empty');
    return item;
  }

  pop(): Pickled {
    return this.#pop();
  }

  top(): Pickled {
    const item = this.#stack.at(-1);
    if (item === undefined || item === mark) throw this.refuse('its stack is empty');
    return item;
  }

  toMark(): Pickled[] {
    const at = this.#stack.lastIndexOf(mark);
    if (at < 0) throw this.refuse('a mark is missing');
    const items = this.#stack.splice(at) as Pickled[];
    return items.slice(1);
  }

  tuple(count: number): void {
    const items = Array.from({ length: count }, () => this.#pop());
    this.push(items.reverse());
  }

  remember(index = this.#memo.size): void {
    this.#memo.set(index, this.top());
  }

  recall(index: number): void {
    const item = this.#memo.get(index);
    if (item === undefined) throw this.refuse(`entry ${index} of its memo is missing`);
    this.push(item);
  }

  name(module: Pickled, member: Pickled): void {
    const name = `${String(module)}.${String(member)}`;
    if (typeof module !== 'string' || typeof member !== 'string' || !this.#meanings.known(name)) {
      throw this.refuse(`it names ${name.slice(0, 100)}, which is not one of the tensor types`);
    }
    this.push(new PickledName(name));
  }

  call(): void {
    const args = this.#pop();
    const callee = this.#pop();
    if (!(callee instanceof PickledName) || !Array.isArray(args)) throw this.refuse('it calls something unnamed');
    this.push(this.#meanings.call(callee.name, args));
  }

  persistent(): void {
    this.push(this.#meanings.persistent(this.#pop()));
  }

  setItems(pairs: readonly Pickled[]): void {
    const target = this.top();
    if (!(target instanceof Map) || pairs.length % 2 !== 0) throw this.refuse('it sets items of something else');
    for (let i = 0; i < pairs.length; i += 2) target.set(pairs[i], pairs[i + 1]);
  }

  append(items: readonly Pickled[]): void {
    const target = this.top();
    if (!Array.isArray(target)) throw this.refuse('it appends to something else');
    for (const item of items) target.push(item);
  }

  /** Attributes of a mapping, such as the versions that `state_dict` notes: no tensors. */
  dropAttributes(): void {
    this.#pop();
    if (!(this.top() instanceof Map)) throw this.refuse('it sets attributes of an object');
  }
}

/** Opcodes by their byte. */
const steps: Readonly<Record<string, (p: Pickle) => void>> = {
  '\x80': (p) => p.skip(1),
  '\x95': (p) => p.skip(8),
  '(': (p) => p.push(mark),
  '0': (p) => void p.pop(),
  '}': (p) => p.push(new Map()),
  ']': (p) => p.push([]),
  ')': (p) => p.push([]),
  t: (p) => p.push(p.toMark()),
  l: (p) => p.push(p.toMark()),
  '\x85': (p) => p.tuple(1),
  '\x86': (p) => p.tuple(2),
  '\x87': (p) => p.tuple(3),
  N: (p) => p.push(null),
  '\x88': (p) => p.push(true),
  '\x89': (p) => p.push(false),
  J: (p) => p.push(p.signed()),
  K: (p) => p.push(p.unsigned(1)),
  M: (p) => p.push(p.unsigned(2)),
  '\x8a': (p) => p.push(p.long(p.unsigned(1))),
  G: (p) => p.push(p.float()),
  X: (p) => p.push(p.text(p.unsigned(4))),
  '\x8c': (p) => p.push(p.text(p.unsigned(1))),
  q: (p) => p.remember(p.unsigned(1)),
  r: (p) => p.remember(p.unsigned(4)),
  '\x94': (p) => p.remember(),
  h: (p) => p.recall(p.unsigned(1)),
  j: (p) => p.recall(p.unsigned(4)),
  c: (p) => {
    const module = p.line();
    p.name(module, p.line());
  },
  '\x93': (p) => {
    const member = p.pop();
    p.name(p.pop(), member);
  },
  R: (p) => p.call(),
  Q: (p) => p.persistent(),
  s: (p) => {
    const value = p.pop();
    p.setItems([p.pop(), value]);
  },
  u: (p) => {
    const pairs = p.toMark();
    p.setItems(pairs);
  },
  a: (p) => {
    const item = p.pop();
    p.append([item]);
  },
  e: (p) => {
    const items = p.toMark();
    p.append(items);
  },
  b: (p) => p.dropAttributes(),
};

/**
 * The data of a pickle.
 *
 * @throws TorchFileError for a name or an opcode that is not data, or bytes that end too early.
 */
export function readPickle(bytes: Uint8Array, meanings: PickleMeanings): Pickled {
  return new Pickle(bytes, meanings).run();
}
