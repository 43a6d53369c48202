import type { Device } from '../device/device.ts';
import { ArgumentError, ForerunError } from '../errors.ts';
import { elementCount } from '../graph/dtype.ts';
import type { Graph, GraphNode } from '../graph/graph.ts';
import type { Operand } from '../graph/operation.ts';
import { State } from '../graph/state.ts';
import { Tensor } from '../graph/tensor.ts';
import { Weight } from '../graph/weight.ts';
import type { AnyKernel } from '../kernel/define-kernel.ts';
import type { Grid } from '../kernel/grid.ts';
import type { WeightStore } from '../run/weight-store.ts';
import type { ChoiceTable } from './choices.ts';
import type { Arithmetic, BufferView, Lowering, LoweringContext } from './lowering.ts';
import { planPrepared, sameForm } from './prepared.ts';

/** A dispatch with its kernel chosen and its buffers named, not yet allocated. */
export interface PlannedDispatch {
  readonly kernel: AnyKernel;
  readonly constants: object;
  readonly uniforms: Readonly<Record<string, number>>;
  readonly bindings: Readonly<Record<string, BufferView>>;
  readonly workgroups: Grid | ((bound: number) => Grid);
  readonly label: string;
  readonly choice?: string | undefined;
  readonly section: string;
  /** The node that asked for it. */
  readonly node: GraphNode;
  readonly bytes: number | ((bound: number) => number);
  readonly flops: number | ((bound: number) => number);
}

/** What lowering a graph gives. */
export interface Lowered {
  readonly dispatches: readonly PlannedDispatch[];
  /** The buffer of each input and output of the program. */
  readonly views: ReadonlyMap<Tensor, BufferView>;
  readonly states: readonly State[];
}

/** Asks each node for its kernels, in order. */
export function lower(
  graph: Graph,
  nodes: readonly GraphNode[],
  options: { device: Device; weights: WeightStore; arithmetic: Arithmetic; choices?: ChoiceTable | undefined },
): Lowered {
  const { device, weights, arithmetic, choices } = options;
  const views = new Map<Tensor, BufferView>();
  const dispatches: PlannedDispatch[] = [];
  const states = new Set<State>();
  let scratchCount = 0;
  const scratch = (bytes: number, label: string): BufferView => ({
    source: { kind: 'scratch', id: scratchCount++, bytes: Math.max(16, Math.ceil(bytes / 16) * 16), label },
  });
  const view = (tensor: Tensor): BufferView => {
    const known = views.get(tensor);
    if (known) return known;
    if (prepared.rows.get(tensor)?.plain === false) {
      throw new ForerunError('lowering', `Tensor ${tensor.id} is written prepared alone, but was asked for as it is.`);
    }
    const made = scratch(elementCount(tensor.shape) * 4, `tensor ${tensor.id}`);
    views.set(tensor, made);
    return made;
  };
  const expect = <Kind extends Operand>(operand: Operand, kind: abstract new (...args: never[]) => Kind): Kind => {
    if (operand instanceof kind) return operand;
    throw new ArgumentError(
      `Expected a ${kind.name} as operand, got a ${operand?.constructor?.name ?? typeof operand}.`,
    );
  };
  const context: LoweringContext = {
    device,
    arithmetic,
    choices,
    weight: (operand) => weights.parts(expect(operand, Weight)),
    weights: (group) => weights.grouped(group),
  };
  const prepared = planPrepared(graph, nodes, context);
  const planned = (tensor: Tensor) => prepared.rows.get(prepared.original(tensor));
  const rowViews = new Map(
    [...prepared.rows].map(([tensor, { form, rowBytes }]) => {
      const rows = elementCount(tensor.shape) / form.width;
      return [tensor, scratch(rows * rowBytes, `tensor ${tensor.id}, prepared`)] as const;
    }),
  );
  for (const { tensor } of graph.inputs) view(tensor);
  for (const { tensor, data } of graph.constants) {
    views.set(tensor, { source: { kind: 'fixed', buffer: device.constants.get(data) } });
  }
  for (const node of nodes) {
    for (const operand of node.operands) if (operand instanceof State) states.add(operand);
    // Another name for what has no plain values is read through its rows alone.
    if (node.operation.renames && planned(node.outputs[0]!)?.plain === false) continue;
    const lowering: Lowering = {
      ...context,
      tensor: (operand) => view(expect(operand, Tensor)),
      state: (operand) => ({ source: { kind: 'state', state: expect(operand, State) } }),
      prepared: (tensor, form) => {
        const own = planned(tensor);
        return own && sameForm(own.form, form) ? rowViews.get(prepared.original(tensor)) : undefined;
      },
      wanted: (output) => {
        const own = prepared.rows.get(output);
        return own && { form: own.form, rows: rowViews.get(output)!, plain: own.plain };
      },
      alias: (output, target) => void views.set(output, target),
      scratch,
      dispatch: (kernel, request) =>
        void dispatches.push({
          kernel: kernel as unknown as AnyKernel,
          constants: request.constants,
          uniforms: (request.uniforms ?? {}) as Readonly<Record<string, number>>,
          bindings: request.bindings as Readonly<Record<string, BufferView>>,
          workgroups: request.workgroups,
          label: request.label ?? kernel.name,
          choice: request.choice,
          section: node.section,
          node,
          bytes: request.bytes ?? 0,
          flops: request.flops ?? 0,
        }),
    };
    node.operation.lower(lowering, node);
  }
  for (const tensor of graph.outputs.values()) view(tensor);
  return { dispatches, views, states: [...states] };
}
