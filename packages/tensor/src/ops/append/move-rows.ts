import { DTypeError, ShapeError } from '../../errors.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Binding, Kernel } from '../../kernel/define-kernel.ts';
import { defineKernel, read, readWrite } from '../../kernel/define-kernel.ts';
import { grid, linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { slotWords } from './cache.ts';

const names = ['a', 'b', 'c', 'd', 'e'] as const;

interface MoveConstants {
  readonly words: readonly number[];
}

interface MoveAttributes {
  /** Slots of the ring that positions lie in; undefined where each has its own. */
  readonly ring: number | undefined;
}

/**
 * One invocation owns a column of a slot and moves its rows in ascending order, so a row is read before anything can overwrite it:
 * `path[i] >= i`, and what was written so far lies below.
 */
function moveKernel(states: number): Kernel<MoveConstants, string, 'rows' | 'capacity' | 'ring'> {
  const used = names.slice(0, states);
  const bindings: Record<string, Binding> = { path: read('u32'), count: read('u32'), length: read('u32') };
  for (const name of used) bindings[name] = readWrite('u32');
  return defineKernel({
    name: `move-rows-${states}`,
    bindings,
    uniforms: { rows: 'u32', capacity: 'u32', ring: 'u32' },
    wgsl: (c: MoveConstants) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let word = ${linearWorkgroupWgsl} * 64u + lane;
  let first = length[0];
  for (var i = 0u; i < min(count[0], u.rows); i += 1u) {
    let source = (first + path[i]) % u.ring;
    let kept = (first + i) % u.ring;
    if (path[i] <= i || source >= u.capacity) { continue; }
${used.map((name, k) => `    if (word < ${c.words[k]}u) { ${name}[kept * ${c.words[k]}u + word] = ${name}[source * ${c.words[k]}u + word]; }`).join('\n')}
  }
}`,
  });
}

/** The operation for `states` caches at once. Operands: path, count, length, then the states. */
function moveOperation(states: number) {
  const kernel = moveKernel(states);
  return defineOperation<MoveAttributes>({
    name: 'move-rows',
    infer: () => [],
    writes: names.slice(0, states).map((_, i) => 3 + i),
    reference([path, count, length, ...caches], { ring = Infinity }) {
      for (const cache of caches) {
        const words = elementCount(cache.shape.slice(1));
        for (let i = 0; i < Math.min(count!.data[0]!, path!.data.length); i++) {
          const from = (length!.data[0]! + path!.data[i]!) % ring;
          const to = (length!.data[0]! + i) % ring;
          if (path!.data[i]! > i && from < cache.shape[0]!)
            cache.data.copyWithin(to * words, from * words, (from + 1) * words);
        }
      }
      return [];
    },
    lower(lowering, node) {
      const [path, count, length] = node.operands as readonly Tensor[];
      const caches = node.operands.slice(3) as readonly State[];
      const words = caches.map(slotWords);
      lowering.dispatch(kernel, {
        constants: { words },
        uniforms: {
          rows: path!.shape[0]!,
          capacity: Math.min(...caches.map(({ shape }) => shape[0]!)),
          ring: node.attributes.ring ?? 0xffff_ffff,
        },
        bindings: {
          path: lowering.tensor(path!),
          count: lowering.tensor(count!),
          length: lowering.tensor(length!),
          ...Object.fromEntries(caches.map((cache, i) => [names[i]!, lowering.state(cache)])),
        },
        workgroups: grid(Math.ceil(Math.max(...words) / 64)),
        bytes: 8 * path!.shape[0]! * words.reduce((sum, count) => sum + count, 0),
      });
    },
  });
}

const operations = names.map((_, i) => moveOperation(i + 1));

/**
 * Compacts caches after a tree was verified: for each `i < count`, slot `length + path[i]` moves to slot `length + i`. Rows whose
 * place is right already are not touched.
 *
 * @param states - `[C, ...]` caches of all layers, any dtype.
 * @param accepted - `path`: `[M]` u32 rows of the tree, ascending; `count`: `[1]` u32 of them; `length`: `[1]` u32 slots before the
 * tree's.
 * @param options.ring - Slots of the ring that positions lie in, where the caches are rings of one size.
 * @throws {@link DTypeError} if `path`, `count` or `length` is not u32; {@link ShapeError} if `path` is not a vector.
 */
export function moveRows(
  states: readonly State[],
  accepted: { readonly path: Tensor; readonly count: Tensor; readonly length: Tensor },
  options: { readonly ring?: number } = {},
): void {
  const { path, count, length } = accepted;
  if ([path, count, length].some(({ dtype }) => dtype !== 'u32')) {
    throw new DTypeError(
      `moveRows: expected path, count and length as u32, got ${path.dtype}, ${count.dtype} and ${length.dtype}.`,
    );
  }
  if (path.shape.length !== 1) throw new ShapeError(`moveRows: expected path as [M], got ${shapeText(path.shape)}.`);
  for (let begin = 0; begin < states.length; begin += names.length) {
    const group = states.slice(begin, begin + names.length);
    path.graph.apply(operations[group.length - 1]!, [path, count, length, ...group], { ring: options.ring });
  }
}
