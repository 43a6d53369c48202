/**
 * One declaration of a kernel gives its WGSL bindings, the uniform struct, the packing of its bytes, the types of a dispatch and
 * the key under which its pipeline is cached. Nobody writes a binding index or a byte offset by hand.
 */
import { ArgumentError } from '../errors.ts';

/** How a kernel sees a buffer. */
export type Access = 'read' | 'write' | 'read-write' | 'uniform';

/** One buffer of a kernel: the WGSL element type of a runtime-sized array, or the whole type for a uniform. */
export interface Binding {
  readonly access: Access;
  readonly type: string;
}

/** A storage buffer that is only read: `array<type>`. */
export const read = (type: string): Binding => ({ access: 'read', type });
/** A storage buffer whose bound elements are all written: `array<type>`. Tests fill it with NaN first. */
export const write = (type: string): Binding => ({ access: 'write', type });
/** A storage buffer that is read and written: `array<type>`; `atomic<u32>` elements are allowed. */
export const readWrite = (type: string): Binding => ({ access: 'read-write', type });
/** A small buffer on which control flow stays uniform, such as loop state: `type` is the whole WGSL type. */
export const uniform = (type: string): Binding => ({ access: 'uniform', type });

/** Scalar types of uniform fields. */
export type UniformType = 'u32' | 'i32' | 'f32';

/** Optional device features; a kernel that needs one stands beside a portable kernel. */
export type KernelFeature = 'shader-f16' | 'subgroups' | 'chromium-experimental-subgroup-matrix';

/** Directives of WGSL that a feature needs; `enable` and `diagnostic` may come in any order. */
const directives: Readonly<Record<KernelFeature, readonly string[]>> = {
  'shader-f16': ['enable f16;'],
  subgroups: ['enable subgroups;'],
  // Control flow that is uniform in a subgroup cannot be proved to be so.
  'chromium-experimental-subgroup-matrix': [
    'enable chromium_experimental_subgroup_matrix;',
    'diagnostic(off, chromium.subgroup_matrix_uniformity);',
  ],
};

/** A declared kernel. `Constants` are compile-time and part of the pipeline's key; `Uniforms` are per dispatch. */
export interface Kernel<Constants, Bindings extends string, Uniforms extends string> {
  readonly name: string;
  readonly bindings: Readonly<Record<Bindings, Binding>>;
  readonly uniforms: Readonly<Record<Uniforms, UniformType>>;
  readonly features: readonly KernelFeature[];
  /** The body: functions, workgroup variables and `fn main`. Bindings are named by their keys, uniforms are fields of `u`. */
  readonly wgsl: (constants: Constants) => string;
}

/** A kernel whose types are not known to the holder. */
export type AnyKernel = Kernel<never, string, string>;

/** Declares a kernel. The entry point is `main`; the uniform variable is `u`. */
export function defineKernel<
  Constants extends object,
  Bindings extends string,
  Uniforms extends string = never,
>(declaration: {
  name: string;
  bindings: Record<Bindings, Binding>;
  uniforms?: Record<Uniforms, UniformType>;
  features?: readonly KernelFeature[];
  wgsl: (constants: Constants) => string;
}): Kernel<Constants, Bindings, Uniforms> {
  const storage = Object.values<Binding>(declaration.bindings).filter(({ access }) => access !== 'uniform').length;
  if (storage > 8) {
    throw new ArgumentError(`Kernel ${declaration.name}: ${storage} storage buffers; portable devices offer 8.`);
  }
  return {
    name: declaration.name,
    bindings: declaration.bindings,
    uniforms: declaration.uniforms ?? ({} as Record<Uniforms, UniformType>),
    features: declaration.features ?? [],
    wgsl: declaration.wgsl,
  };
}

/** A program-wide condition that every kernel checks first: it returns at once while word `word` of `guard` is not 0. */
export interface Guard {
  /** Number of u32 words in the guarding buffer; a multiple of 4. */
  readonly words: number;
  /** Index of the word. */
  readonly word: number;
  /** The kernel's own binding of the guarding buffer, where it writes it: a buffer that is written cannot be bound as uniform too. */
  readonly through?: string;
}

/** What a pipeline is made from. */
export interface ShaderSource {
  readonly code: string;
  /** Binding names in binding order, the guard and the uniforms last. */
  readonly layout: readonly { readonly name: string; readonly access: Access }[];
}

/** Binding name under which a program's guard is bound. */
export const guardName = 'guard_';
/** Binding name of the uniform struct. */
export const uniformName = 'u';

/** Full WGSL of a kernel with its constants filled in. */
export function shaderSource(kernel: AnyKernel, constants: object, guard?: Guard): ShaderSource {
  const layout: { name: string; access: Access }[] = [];
  const lines: string[] = [];
  const address: Record<Access, string> = {
    read: 'storage, read',
    write: 'storage, read_write',
    'read-write': 'storage, read_write',
    uniform: 'uniform',
  };
  const bind = (name: string, access: Access, type: string) => {
    lines.push(`@group(0) @binding(${layout.length}) var<${address[access]}> ${name}: ${type};`);
    layout.push({ name, access });
  };
  for (const [name, { access, type }] of Object.entries<Binding>(kernel.bindings)) {
    bind(name, access, access === 'uniform' ? type : `array<${type}>`);
  }
  const fields = Object.entries<UniformType>(kernel.uniforms);
  if (fields.length > 0) {
    lines.unshift(`struct Uniforms { ${fields.map(([name, type]) => `${name}: ${type}`).join(', ')} }`);
    bind(uniformName, 'uniform', 'Uniforms');
  }
  let body = kernel.wgsl(constants as never);
  if (guard) {
    if (!guard.through) bind(guardName, 'uniform', `array<vec4<u32>, ${guard.words / 4}>`);
    const entry = body.search(/fn\s+main\s*\(/);
    const open = body.indexOf('{', entry);
    const word = guard.through
      ? `${guard.through}[${guard.word}]`
      : `${guardName}[${guard.word >> 2}].${'xyzw'[guard.word % 4]}`;
    body = `${body.slice(0, open + 1)} if (${word} != 0u) { return; }${body.slice(open + 1)}`;
  }
  const enables = kernel.features.flatMap((feature) => directives[feature]).map((text) => `${text}\n`);
  return { code: `${enables.join('')}${lines.join('\n')}\n${body}`, layout };
}

/** Bytes of the uniform struct, padded to 16. */
export function packUniforms(kernel: AnyKernel, values: Readonly<Record<string, number>>): Uint8Array<ArrayBuffer> {
  const fields = Object.entries<UniformType>(kernel.uniforms);
  const bytes = new Uint8Array(Math.ceil(Math.max(fields.length, 1) / 4) * 16);
  const view = new DataView(bytes.buffer);
  fields.forEach(([name, type], index) => {
    const value = values[name];
    if (value === undefined || Number.isNaN(value)) {
      throw new ArgumentError(`Kernel ${kernel.name}: uniform "${name}" is missing or NaN.`);
    }
    if (type === 'f32') view.setFloat32(index * 4, value, true);
    else view.setUint32(index * 4, value >>> 0, true);
  });
  return bytes;
}
