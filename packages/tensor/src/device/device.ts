/**
 * The device and everything that must have an owner on it: buffers and their account, pipelines, errors. It knows nothing of
 * graphs or models. After a failure every further call throws the typed error; ask for a new device to go on.
 */
import { gpuEntry } from '#gpu';
import {
  AdapterError,
  DeviceLimitError,
  DeviceLostError,
  ForerunError,
  GpuValidationError,
  OutOfMemoryError,
} from '../errors.ts';
import { Arena } from './arena.ts';
import { ConstantCache } from './constants.ts';
import type { GpuEntry } from './gpu.browser.ts';
import { PipelineCache } from './pipelines.ts';
import { Staging } from './staging.ts';
import type { MatrixConfig } from './subgroup-matrix.ts';
import { matrixConfigs, subgroupMatrixFeature } from './subgroup-matrix.ts';
import { usage } from './usage.ts';

/** What kind of adapter computes: real hardware or a software rasteriser. */
export type AdapterKind = 'hardware' | 'software';

/** Which adapter answers, in words. */
export interface AdapterDescription {
  readonly kind: AdapterKind;
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
}

/** How a device is asked for. */
export interface DeviceOptions extends GpuEntry {
  /** Refuse the other kind; without it either is taken, and `adapter.kind` says which it is. */
  readonly adapter?: AdapterKind;
  /** `'adapter'` (default) asks for all that the adapter has; `'portable'` for WebGPU's guaranteed limits and no optional feature. */
  readonly limits?: 'adapter' | 'portable';
  /** Optional features to leave unused though the adapter has them; those of the language too. */
  readonly without?: readonly (GPUFeatureName | 'packed_4x8_integer_dot_product')[];
  readonly powerPreference?: GPUPowerPreference;
}

/** Purposes that the memory account tells apart. */
export type MemoryPurpose = 'weights' | 'states' | 'scratch' | 'staging' | 'other';

const wantedFeatures = ['timestamp-query', 'shader-f16', 'subgroups'] as const satisfies readonly GPUFeatureName[];
const wantedLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxStorageBuffersPerShaderStage',
] as const;

function describe(info: GPUAdapterInfo): AdapterDescription {
  const text = [info.vendor, info.architecture, info.device, info.description].join(' ').toLowerCase();
  if (/null.backend/.test(text)) {
    throw new AdapterError(
      'The adapter is the null backend, which computes nothing. Install a Vulkan driver and try again.',
    );
  }
  const software = info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|software|basic render/.test(text);
  return {
    kind: software ? 'software' : 'hardware',
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
  };
}

// An adapter that is collected while its device lives crashes Dawn in Node.
const keptAdapters: { forerunAdapters?: GPUAdapter[] } = globalThis as never;

/** A WebGPU device with its memory account, its pipeline cache and its failures. Make one with {@link requestDevice}. */
export class Device {
  readonly gpu: GPUDevice;
  readonly adapter: AdapterDescription;
  readonly limits: GPUSupportedLimits;
  readonly pipelines: PipelineCache;
  readonly arena: Arena;
  readonly staging: Staging;
  readonly constants: ConstantCache;
  /** Shapes of matrices that subgroups multiply; none unless `experimental` names them and the adapter has them. */
  readonly matrices: readonly MatrixConfig[];
  readonly #language: ReadonlySet<string>;
  readonly #bytes = new Map<MemoryPurpose, number>();
  #peakBytes = 0;
  #failure: ForerunError | undefined;

  /**
   * @param options.language - WGSL language features of the implementation.
   * @param options.matrices - See {@link Device.matrices}.
   */
  constructor(
    gpu: GPUDevice,
    adapter: AdapterDescription,
    options: { readonly language?: ReadonlySet<string>; readonly matrices?: readonly MatrixConfig[] } = {},
  ) {
    this.gpu = gpu;
    this.#language = options.language ?? new Set();
    this.matrices = options.matrices ?? [];
    this.adapter = adapter;
    this.limits = gpu.limits;
    this.pipelines = new PipelineCache(this);
    this.arena = new Arena(this);
    this.staging = new Staging(this);
    this.constants = new ConstantCache(this);
    gpu.addEventListener('uncapturederror', (event) => {
      event.preventDefault();
      const { error } = event;
      this.fail(
        error.constructor.name === 'GPUOutOfMemoryError'
          ? new OutOfMemoryError(`The device ran out of memory: ${error.message}`)
          : new GpuValidationError(`WebGPU refused a command: ${error.message}`),
      );
    });
    void gpu.lost.then(({ reason, message }) => {
      const why = reason === 'destroyed' ? 'it was destroyed' : message || 'the driver gave no reason';
      this.fail(
        new DeviceLostError(`The GPU device was lost (${why}). Request a new device and load the model again.`),
      );
    });
  }

  /** Whether an optional feature is on. */
  has(feature: GPUFeatureName): boolean {
    return this.gpu.features.has(feature);
  }

  /** Whether shaders may use an optional feature of the language, such as `packed_4x8_integer_dot_product`. */
  hasLanguage(feature: string): boolean {
    return this.#language.has(feature);
  }

  /** Records the first failure; every later call throws it. */
  fail(error: ForerunError): void {
    this.#failure ??= error;
  }

  /** Throws the device's failure, if there is one. */
  check(): void {
    if (this.#failure) throw this.#failure;
  }

  /** The typed error behind a rejected WebGPU promise: the device's own failure when it has one. */
  async explainRejection(cause: unknown): Promise<ForerunError> {
    if (cause instanceof ForerunError) return cause;
    // `lost` settles in a later task than the promises it makes fail.
    await new Promise((resolve) => setTimeout(resolve, 20));
    return (
      this.#failure ??
      new GpuValidationError(`WebGPU rejected a call: ${(cause as Error)?.message ?? cause}`, { cause })
    );
  }

  /** Device bytes held now, by purpose. */
  get memory(): Readonly<Record<MemoryPurpose, number>> & { readonly total: number; readonly peak: number } {
    const of = (purpose: MemoryPurpose) => this.#bytes.get(purpose) ?? 0;
    const [weights, states, scratch, staging, other] = [
      of('weights'),
      of('states'),
      of('scratch'),
      of('staging'),
      of('other'),
    ];
    const total = weights + states + scratch + staging + other;
    return { weights, states, scratch, staging, other, total, peak: this.#peakBytes };
  }

  /**
   * Creates a buffer and counts it.
   * @throws {@link DeviceLimitError} if it is larger than the device's largest buffer.
   */
  buffer(bytes: number, options: { usage: number; label: string; purpose: MemoryPurpose }): GPUBuffer {
    this.check();
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    if (size > this.limits.maxBufferSize) {
      throw new DeviceLimitError(
        `Buffer "${options.label}" needs ${size} bytes; this device's largest buffer is ${this.limits.maxBufferSize}. Use a smaller capacity or a smaller weight format.`,
      );
    }
    const buffer = this.gpu.createBuffer({ size, usage: options.usage, label: options.label });
    this.#count(options.purpose, size);
    const destroy = buffer.destroy.bind(buffer);
    let live = true;
    buffer.destroy = () => {
      if (live) this.#count(options.purpose, -size);
      live = false;
      destroy();
      return undefined;
    };
    return buffer;
  }

  /** A storage buffer that can be copied from and to. */
  storage(bytes: number, label: string, purpose: MemoryPurpose): GPUBuffer {
    return this.buffer(bytes, { usage: usage.storage | usage.copySource | usage.copyTarget, label, purpose });
  }

  /** A buffer for a state: storage that kernels may also bind as uniform. */
  storageAndUniform(bytes: number, label: string): GPUBuffer {
    const small = bytes <= this.limits.maxUniformBufferBindingSize ? usage.uniform : 0;
    const flags = usage.storage | usage.copySource | usage.copyTarget | small;
    return this.buffer(bytes, { usage: flags, label, purpose: 'states' });
  }

  /** Runs `body`, and throws what validation or the allocator says of it. Not for hot paths: it waits for the device. */
  async scoped<Result>(body: () => Result | Promise<Result>): Promise<Result> {
    this.check();
    this.gpu.pushErrorScope('out-of-memory');
    this.gpu.pushErrorScope('validation');
    let result: Result;
    let validation: Promise<GPUError | null>;
    let memory: Promise<GPUError | null>;
    try {
      result = await body();
    } finally {
      validation = this.gpu.popErrorScope();
      memory = this.gpu.popErrorScope();
    }
    const [refused, exhausted] = await Promise.all([validation, memory]).catch(async (cause) => {
      throw await this.explainRejection(cause);
    });
    if (exhausted) throw new OutOfMemoryError(`The device ran out of memory: ${exhausted.message}`);
    if (refused) throw new GpuValidationError(`WebGPU refused a command: ${refused.message}`);
    this.check();
    return result;
  }

  /** Waits until all submitted work is done. */
  async idle(): Promise<void> {
    this.check();
    await this.gpu.queue.onSubmittedWorkDone().catch(async (cause) => {
      throw await this.explainRejection(cause);
    });
    this.check();
  }

  /** Gives the device back; everything made on it is gone. */
  destroy(): void {
    this.gpu.destroy();
  }

  #count(purpose: MemoryPurpose, bytes: number): void {
    this.#bytes.set(purpose, (this.#bytes.get(purpose) ?? 0) + bytes);
    this.#peakBytes = Math.max(
      this.#peakBytes,
      [...this.#bytes.values()].reduce((sum, value) => sum + value, 0),
    );
  }
}

/**
 * Asks for a device.
 * @throws {@link AdapterError} when WebGPU is missing, no adapter answers, or it is of another kind than asked for.
 */
export async function requestDevice(options: DeviceOptions = {}): Promise<Device> {
  const gpu = await gpuEntry(options);
  const adapter = await gpu.requestAdapter({
    powerPreference: options.powerPreference ?? 'high-performance',
    ...(options.adapter === 'software' ? { forceFallbackAdapter: true } : {}),
  });
  if (!adapter) {
    throw new AdapterError(
      'WebGPU found no adapter. Install a GPU driver (Vulkan on Linux), or use a software adapter; `forerun devices` says what is there.',
    );
  }
  (keptAdapters.forerunAdapters ??= []).push(adapter);
  const description = describe(adapter.info);
  if (options.adapter && options.adapter !== description.kind) {
    throw new AdapterError(
      `Expected a ${options.adapter} adapter, but WebGPU offers "${description.description || description.device}", which is ${description.kind}.`,
    );
  }
  const portable = options.limits === 'portable';
  const withoutLanguage: ReadonlySet<string> = new Set(options.without);
  const offered = (feature: GPUFeatureName) => adapter.features.has(feature) && !options.without?.includes(feature);
  const matrices = options.experimental?.includes('subgroup-matrix') && offered('subgroups');
  const wanted = [...wantedFeatures, ...(matrices ? [subgroupMatrixFeature] : [])];
  const features = portable ? [] : wanted.filter(offered);
  const requiredLimits = portable
    ? {}
    : Object.fromEntries(wantedLimits.map((name) => [name, adapter.limits[name]] as const));
  const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits }).catch((cause) => {
    throw new AdapterError(`The adapter gave no device: ${(cause as Error).message}`, { cause });
  });
  const language = portable ? [] : [...(gpu.wgslLanguageFeatures ?? [])].filter((name) => !withoutLanguage.has(name));
  return new Device(device, description, {
    language: new Set(language),
    matrices: matrixConfigs(adapter.info, device.features),
  });
}
