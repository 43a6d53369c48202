import type { BufferView, Lowering } from '../../compile/lowering.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { grid, linearWorkgroupWgsl } from '../../kernel/grid.ts';

const copyKernel = (type: 'u32' | 'vec4<u32>') =>
  defineKernel({
    name: `copy-blocks-${type === 'u32' ? 'words' : 'vectors'}`,
    bindings: { x: read(type), y: write(type) },
    uniforms: { count: 'u32', span: 'u32', fromBegin: 'u32', fromStride: 'u32', toBegin: 'u32', toStride: 'u32' },
    wgsl: () => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= u.count) { return; }
  let block = i / u.span;
  let within = i % u.span;
  y[u.toBegin + block * u.toStride + within] = x[u.fromBegin + block * u.fromStride + within];
}`,
  });

const kernels = { 1: copyKernel('u32'), 4: copyKernel('vec4<u32>') } as const;

/** Equally long blocks of one array, written to another; all numbers count 4-byte elements. */
export interface BlockCopy {
  readonly from: BufferView;
  readonly to: BufferView;
  readonly blocks: number;
  /** Elements of a block. */
  readonly span: number;
  readonly fromBegin?: number;
  /** Distance of the blocks' starts in `from`. */
  readonly fromStride: number;
  readonly toBegin?: number;
  readonly toStride: number;
  readonly label: string;
}

/** Appends a copy of bits, of any dtype. */
export function copyBlocks(lowering: Lowering, copy: BlockCopy): void {
  const { blocks, span, fromBegin = 0, fromStride, toBegin = 0, toStride } = copy;
  const words = [span, fromBegin, fromStride, toBegin, toStride].every((value) => value % 4 === 0) ? 4 : 1;
  const count = (blocks * span) / words;
  lowering.dispatch(kernels[words], {
    constants: {},
    uniforms: {
      count,
      span: span / words,
      fromBegin: fromBegin / words,
      fromStride: fromStride / words,
      toBegin: toBegin / words,
      toStride: toStride / words,
    },
    bindings: { x: copy.from, y: copy.to },
    workgroups: grid(Math.ceil(count / 64)),
    label: copy.label,
    bytes: 8 * blocks * span,
  });
}
