import { GpuValidationError } from '../errors.ts';
import type { Access, AnyKernel, Guard, ShaderSource } from '../kernel/define-kernel.ts';
import { shaderSource } from '../kernel/define-kernel.ts';
import type { Device } from './device.ts';
import { computeStage } from './usage.ts';

/** A pipeline with what is needed to bind buffers to it. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly source: ShaderSource;
}

/** Pipelines by kernel, constants and guard. The same source is never compiled twice on a device. */
export class PipelineCache {
  readonly #device: Device;
  readonly #pipelines = new Map<string, Promise<Pipeline>>();
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  #compileMs = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  /** Pipelines made so far. */
  get count(): number {
    return this.#pipelines.size;
  }

  /** Sum of the times that each compilation took, in ms; they overlap. */
  get compileMs(): number {
    return this.#compileMs;
  }

  /**
   * The pipeline of a kernel, compiled asynchronously once.
   * @throws {@link GpuValidationError} with the compiler's message.
   */
  get(kernel: AnyKernel, constants: object, guard?: Guard): Promise<Pipeline> {
    const source = shaderSource(kernel, constants, guard);
    const known = this.#pipelines.get(source.code);
    if (known) return known;
    const made = this.#compile(kernel.name, source);
    this.#pipelines.set(source.code, made);
    return made;
  }

  async #compile(name: string, source: ShaderSource): Promise<Pipeline> {
    this.#device.check();
    const { gpu } = this.#device;
    const start = performance.now();
    const layout = this.#layout(source.layout.map(({ access }) => access));
    // Whatever is wrong with the shader is this call's error, not an uncaptured one that fails the device.
    gpu.pushErrorScope('validation');
    const module = gpu.createShaderModule({ code: source.code, label: name });
    const refused = gpu.popErrorScope();
    try {
      const error = await refused;
      if (error) throw error;
      const pipeline = await gpu.createComputePipelineAsync({
        label: name,
        layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
        compute: { module, entryPoint: 'main' },
      });
      this.#compileMs += performance.now() - start;
      return { pipeline, layout, source };
    } catch (cause) {
      this.#device.check();
      const { messages } = await module.getCompilationInfo();
      const first = messages.find(({ type }) => type === 'error');
      const line = first ? source.code.split('\n')[first.lineNum - 1]?.trim() : undefined;
      throw new GpuValidationError(
        `Kernel ${name} does not compile: ${first ? `${first.message} in \`${line}\`` : (cause as Error).message}`,
        { cause },
      );
    }
  }

  #layout(accesses: readonly Access[]): GPUBindGroupLayout {
    const key = accesses.join();
    const known = this.#layouts.get(key);
    if (known) return known;
    const type = { read: 'read-only-storage', write: 'storage', 'read-write': 'storage', uniform: 'uniform' } as const;
    const layout = this.#device.gpu.createBindGroupLayout({
      entries: accesses.map((access, binding) => ({
        binding,
        visibility: computeStage,
        buffer: { type: type[access] },
      })),
    });
    this.#layouts.set(key, layout);
    return layout;
  }
}
