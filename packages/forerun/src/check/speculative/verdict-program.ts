import type { Noise, Round, TokenTree, Verifier } from '@forerun/contracts';
import {
  ArgumentError,
  Commands,
  compile,
  type Device,
  gatherRows,
  packSampling,
  type Program,
  type SamplingSettings,
  samplingWords,
  State,
  StateBuffers,
  type Tensor,
  trace,
} from '@forerun/tensor';
import { targetProbabilities } from '@forerun/verifiers';

/** Noise that reads a recorded list: question i of a round its i-th entry; the target's draw at depth d the d-th. */
function recordedNoise(list: Tensor): Noise {
  const at = (index: Tensor) => gatherRows(list.reshape([-1, 1]), index).reshape([index.shape[0]!]);
  return {
    gumbel() {
      throw new ArgumentError('Recorded noise has uniforms only; choose a verifier that draws by inversion.');
    },
    // The anchor's position is 0, and its successor's 1.
    uniform: (positions, index, purpose) => at(purpose === 'target' ? positions.sub(1) : index),
  };
}

/** What is judged. Rows are those of the tree. */
export interface GivenTree {
  readonly tokens: ArrayLike<number>;
  /** Absent for a chain. */
  readonly parents?: ArrayLike<number>;
  /** `[M, V]`. */
  readonly logits: readonly ArrayLike<number>[];
  /** `[M, V]`, where drafts were drawn. */
  readonly q?: readonly ArrayLike<number>[];
  readonly uniforms: ArrayLike<number>;
  readonly sampling: SamplingSettings;
}

/** What a verifier decided. */
export interface Decided {
  /** Rows of the accepted path, the anchor first. */
  readonly path: readonly number[];
  readonly next: number;
  /** `[M, V]`: the target's distribution at each row, settings taken into account. */
  readonly p: readonly Float32Array[];
}

interface Compiled {
  readonly program: Program;
  readonly buffers: StateBuffers;
  readonly settings: State;
}

/** Fewest uniforms that a program has room for; lists that are longer get programs of their own. */
const shortList = 128;

/** Runs verifiers on given trees: the kernels that generate uses, a program for each verifier and shape. */
export class VerdictPrograms {
  readonly #device: Device;
  readonly #programs = new Map<string, Promise<Compiled>>();

  constructor(device: Device) {
    this.#device = device;
  }

  /** Judges a tree. `key` tells verifiers of different options apart. */
  async judge(key: string, verifier: Verifier, given: GivenTree): Promise<Decided> {
    const width = given.tokens.length;
    const vocabSize = given.logits[0]!.length;
    const depths = Array.from({ length: width }, () => 0);
    for (let row = 1; row < width; row++) depths[row] = given.parents ? depths[given.parents[row]!]! + 1 : row;
    const depth = Math.max(...depths);
    const listLength = Math.max(shortList, given.uniforms.length);
    const shape = [key, width, vocabSize, given.parents ? depth : 'chain', given.q !== undefined, listLength];
    const known = this.#programs.get(shape.join(' ')) ?? this.#compile(verifier, given, { depth, listLength });
    this.#programs.set(shape.join(' '), known);
    const { program, buffers, settings } = await known;

    const rows = (matrix: readonly ArrayLike<number>[]) => {
      const all = new Float32Array(width * vocabSize);
      matrix.slice(0, width).forEach((row, at) => all.set(Array.from(row), at * vocabSize));
      return all;
    };
    const uniforms = new Float32Array(listLength);
    uniforms.set(Array.from(given.uniforms));
    program.write('tokens', Uint32Array.from(given.tokens));
    program.write('depths', Uint32Array.from(depths));
    program.write('logits', rows(given.logits));
    program.write('uniforms', uniforms);
    if (given.parents) program.write('parents', Uint32Array.from(given.parents));
    if (given.q) program.write('q', rows(given.q));
    buffers.write(settings, packSampling(given.sampling));
    const commands = new Commands(this.#device).run(program, { states: buffers });
    const reads = ['path', 'count', 'next', 'p'].map((name) => commands.read(program, name));
    commands.submit();
    const [path, count, next, p] = await Promise.all(reads);
    return {
      path: Array.from(path!.subarray(0, count![0])),
      next: next![0]!,
      p: Array.from({ length: width }, (_, row) =>
        (p as Float32Array).subarray(row * vocabSize, (row + 1) * vocabSize),
      ),
    };
  }

  async #compile(
    verifier: Verifier,
    { tokens: rows, logits: matrix, parents, q }: GivenTree,
    { depth, listLength }: { readonly depth: number; readonly listLength: number },
  ) {
    const [width, vocabSize] = [rows.length, matrix[0]!.length];
    const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
    const counts = new State({ name: 'counts', shape: [2, vocabSize], dtype: 'u32' });
    const graph = trace((traced) => {
      const column = (name: string) => traced.input(name, [width], 'u32');
      const depths = column('depths');
      const tree: TokenTree = {
        width,
        depth,
        chain: !parents,
        tokens: column('tokens'),
        ...(parents ? { parents: column('parents'), depths } : {}),
        count: traced.constant(Uint32Array.of(width)),
        ...(q ? { distribution: traced.input('q', [width, vocabSize]) } : {}),
      };
      const round: Pick<Round, 'width' | 'length' | 'sampling' | 'noise'> & { rows: { spans: Tensor } } = {
        width,
        length: traced.constant(Uint32Array.of(0)),
        sampling: { settings, counts },
        noise: recordedNoise(traced.input('uniforms', [listLength])),
        rows: { spans: depths.add(1) },
      };
      const logits = traced.input('logits', [width, vocabSize]);
      const { path, count, next } = verifier.verify(tree, logits, round as Round);
      traced.output('path', path);
      traced.output('count', count);
      traced.output('next', next);
      traced.output('p', targetProbabilities(tree, logits, round));
    });
    const program = await compile(graph, { device: this.#device, name: `judge by ${verifier.name}` });
    return { program, buffers: new StateBuffers(this.#device, program.states), settings };
  }

  /** Frees all programs. */
  async destroy(): Promise<void> {
    for (const compiled of await Promise.all(this.#programs.values())) {
      compiled.program.destroy();
      compiled.buffers.destroy();
    }
    this.#programs.clear();
  }
}
