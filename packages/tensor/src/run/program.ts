import type { PlannedDispatch } from '../compile/lower.ts';
import type { BufferView } from '../compile/lowering.ts';
import type { MemoryPlan } from '../compile/plan.ts';
import type { Device } from '../device/device.ts';
import type { Pipeline } from '../device/pipelines.ts';
import { ArgumentError, ShapeError } from '../errors.ts';
import { elementCount } from '../graph/dtype.ts';
import type { Graph, GraphNode } from '../graph/graph.ts';
import type { State } from '../graph/state.ts';
import type { Tensor } from '../graph/tensor.ts';
import { guardName, uniformName } from '../kernel/define-kernel.ts';
import type { Grid } from '../kernel/grid.ts';
import type { HostArray, StateBuffers } from './state-buffers.ts';

/** A dispatch with its pipeline. */
export interface CompiledDispatch extends PlannedDispatch {
  readonly pipeline: Pipeline;
  readonly uniformOffset: number | undefined;
}

interface ProgramParts {
  readonly device: Device;
  readonly name: string;
  readonly graph: Graph;
  readonly nodes: readonly GraphNode[];
  readonly dispatches: readonly CompiledDispatch[];
  readonly views: ReadonlyMap<Tensor, BufferView>;
  readonly plan: MemoryPlan;
  readonly uniforms: GPUBuffer | undefined;
  readonly states: readonly State[];
  readonly guard: State | undefined;
}

/** A compiled program: a flat list of dispatches that is replayed. Run it through {@link Commands}. */
export class Program {
  readonly device: Device;
  readonly name: string;
  readonly graph: Graph;
  /** The graph's nodes as they were lowered: after fusion. */
  readonly nodes: readonly GraphNode[];
  readonly dispatches: readonly CompiledDispatch[];
  readonly plan: MemoryPlan;
  /** Every state that it reads or writes. */
  readonly states: readonly State[];
  readonly #parts: ProgramParts;
  readonly #slots: readonly GPUBuffer[];
  readonly #own = new Map<number, GPUBuffer>();
  readonly #groups = new WeakMap<StateBuffers, readonly GPUBindGroup[]>();
  #stateless: readonly GPUBindGroup[] | undefined;

  constructor(parts: ProgramParts) {
    this.device = parts.device;
    this.name = parts.name;
    this.graph = parts.graph;
    this.nodes = parts.nodes;
    this.dispatches = parts.dispatches;
    this.plan = parts.plan;
    this.states = parts.states;
    this.#parts = parts;
    // Inputs and outputs get buffers of their own: they outlive the run that other programs' scratch does not survive.
    const ownSlots = new Map<number, GPUBuffer>();
    for (const tensor of [...parts.graph.inputs.map((input) => input.tensor), ...parts.graph.outputs.values()]) {
      const view = parts.views.get(tensor)!;
      if (view.source.kind !== 'scratch') continue;
      const slot = parts.plan.slotOf.get(view.source.id)!;
      if (!ownSlots.has(slot)) {
        ownSlots.set(
          slot,
          this.device.storage(parts.plan.slotBytes[slot]!, `${this.name} ${view.source.label}`, 'scratch'),
        );
      }
      this.#own.set(view.source.id, ownSlots.get(slot)!);
    }
    const shared = parts.plan.slotBytes.map((bytes, slot) => (ownSlots.has(slot) ? 16 : bytes));
    this.#slots = this.device.arena.take(shared);
  }

  /** Writes an input; it stays until written again. */
  write(name: string, data: HostArray): void {
    const input = this.graph.inputs.find((candidate) => candidate.name === name);
    if (!input) {
      throw new ArgumentError(
        `Program ${this.name} has no input "${name}"; it has: ${this.graph.inputs.map((known) => known.name).join(', ') || 'none'}.`,
      );
    }
    if (data.length !== elementCount(input.tensor.shape)) {
      throw new ShapeError(
        `Input "${name}" of ${this.name}: expected ${elementCount(input.tensor.shape)} elements, got ${data.length}.`,
      );
    }
    this.device.check();
    this.device.gpu.queue.writeBuffer(this.#buffer(this.#parts.views.get(input.tensor)!), 0, data);
  }

  /** The buffer that holds an output after a run. */
  outputBuffer(name: string): { readonly buffer: GPUBuffer; readonly tensor: Tensor; readonly offsetBytes: number } {
    const tensor = this.graph.outputs.get(name);
    if (!tensor) {
      throw new ArgumentError(
        `Program ${this.name} has no output "${name}"; it has: ${[...this.graph.outputs.keys()].join(', ') || 'none'}.`,
      );
    }
    const view = this.#parts.views.get(tensor)!;
    return { buffer: this.#buffer(view), tensor, offsetBytes: view.offsetBytes ?? 0 };
  }

  /** Bind groups for a set of state buffers, made once for each. */
  bindGroups(states: StateBuffers | undefined): readonly GPUBindGroup[] {
    if (!states) {
      if (this.states.length > 0) {
        throw new ArgumentError(
          `Program ${this.name} uses states (${this.states[0]!.name}, …); give it their buffers.`,
        );
      }
      return (this.#stateless ??= this.dispatches.map((dispatch) => this.#bind(dispatch, undefined)));
    }
    const known = this.#groups.get(states);
    if (known) return known;
    const made = this.dispatches.map((dispatch) => this.#bind(dispatch, states));
    this.#groups.set(states, made);
    return made;
  }

  /** Scratch, input and output buffers; tests poison them before a run. */
  get scratchBuffers(): readonly GPUBuffer[] {
    return [...new Set([...this.#slots, ...this.#own.values()])];
  }

  /** Workgroup counts of a dispatch for a context bound of `bound` tokens. */
  static grid(dispatch: CompiledDispatch, bound: number): Grid {
    return typeof dispatch.workgroups === 'function' ? dispatch.workgroups(bound) : dispatch.workgroups;
  }

  /** Frees what belongs to this program alone; shared scratch, pipelines and weights stay. */
  destroy(): void {
    for (const buffer of new Set(this.#own.values())) buffer.destroy();
    this.#parts.uniforms?.destroy();
  }

  #buffer({ source }: BufferView, states?: StateBuffers): GPUBuffer {
    switch (source.kind) {
      case 'fixed':
        return source.buffer;
      case 'weight':
        return source.store.resolve(source.placement, source.array);
      case 'state':
        if (!states)
          throw new ArgumentError(
            `State "${source.state.name}" is an output of ${this.name}; read it from its state buffers.`,
          );
        return states.buffer(source.state);
      case 'scratch':
        return this.#own.get(source.id) ?? this.#slots[this.#parts.plan.slotOf.get(source.id)!]!;
    }
  }

  #bind(dispatch: CompiledDispatch, states: StateBuffers | undefined): GPUBindGroup {
    const { pipeline, bindings, kernel } = dispatch;
    return this.device.gpu.createBindGroup({
      label: dispatch.label,
      layout: pipeline.layout,
      entries: pipeline.source.layout.map(({ name }, binding) => {
        if (name === uniformName && !(name in bindings)) {
          return {
            binding,
            resource: {
              buffer: this.#parts.uniforms!,
              offset: dispatch.uniformOffset!,
              size: Math.max(16, Math.ceil(Object.keys(kernel.uniforms).length / 4) * 16),
            },
          };
        }
        if (name === guardName) return { binding, resource: { buffer: states!.buffer(this.#parts.guard!) } };
        const view = bindings[name];
        if (!view) throw new ArgumentError(`Kernel ${kernel.name}: binding "${name}" was given no buffer.`);
        const buffer = this.#buffer(view, states);
        return {
          binding,
          resource: {
            buffer,
            ...(view.offsetBytes === undefined ? {} : { offset: view.offsetBytes }),
            ...(view.bytes === undefined ? {} : { size: view.bytes }),
          },
        };
      }),
    });
  }
}
