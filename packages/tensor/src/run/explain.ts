/** What a compiled program does and what it costs: as an object for programs, as text for people. */
import { liveNodes } from '../compile/canonicalise.ts';
import { ArgumentError } from '../errors.ts';
import type { GraphNode } from '../graph/graph.ts';
import { State } from '../graph/state.ts';
import { Tensor } from '../graph/tensor.ts';
import { Weight } from '../graph/weight.ts';
import type { Grid } from '../kernel/grid.ts';
import type { Profile } from './profiler.ts';
import { Program } from './program.ts';

/** What is known besides the program. */
export interface ExplainOptions {
  /** Upper bound on the context's length in tokens, for grids and costs that follow it. Default 0. */
  readonly bound?: number;
  /** A profiled run at the same bound. */
  readonly profile?: Profile;
  /** The device's measured bytes per second; with it each dispatch is compared with its floor. */
  readonly bytesPerSecond?: number;
}

/** One dispatch of an explanation. */
export interface ExplainedDispatch {
  readonly label: string;
  readonly kernel: string;
  readonly section: string;
  /** How the kernel was cut, and what the choice table measured, in words; where there was a choice. */
  readonly choice?: string;
  /** Traced operations that it computes, alone or with other dispatches of the same operation. */
  readonly operations: readonly string[];
  readonly workgroups: Grid;
  /** Bytes that it must read and write. */
  readonly bytes: number;
  readonly flops: number;
  /** Measured time in microseconds, where a profile was given. */
  readonly microseconds?: number;
  /** Bytes over measured time. */
  readonly bytesPerSecond?: number;
  /** Time that its bytes take at the device's bandwidth, over the measured time: 1 is the floor. */
  readonly floorFraction?: number;
}

/** Several traced operations that became one. */
export interface ExplainedFusion {
  readonly into: string;
  readonly operations: readonly string[];
}

/** What {@link explain} gives; plain data, fit for JSON. */
export interface Explanation {
  readonly program: string;
  readonly bound: number;
  /** Traced operations that something depends on. */
  readonly operations: number;
  readonly fusions: readonly ExplainedFusion[];
  readonly dispatches: readonly ExplainedDispatch[];
  readonly totals: {
    readonly dispatches: number;
    readonly bytes: number;
    readonly flops: number;
    readonly microseconds?: number;
    readonly floorFraction?: number;
    /** Measured microseconds by section. */
    readonly sections?: Readonly<Record<string, number>>;
  };
  readonly memory: {
    /** Scratch after buffers with disjoint lifetimes were laid over each other, and before. */
    readonly scratchBytes: number;
    readonly unsharedScratchBytes: number;
    readonly stateBytes: number;
  };
}

/** An operation with the weights and states that tell it from others of its kind. */
function operationName({ operation, operands }: GraphNode): string {
  const named = operands.filter((operand) => operand instanceof Weight || operand instanceof State);
  return [operation.name, named.map(({ name }) => name).join(' + ')].filter(Boolean).join(' ');
}

/**
 * The traced nodes that each lowered node stands for, in trace order. A fused node keeps the outputs of what it replaces; a traced
 * node whose outputs are gone was computed inside the node that reads them.
 */
function tracedByLowered(program: Program): ReadonlyMap<GraphNode, readonly GraphNode[]> {
  const byTensor = new Map<Tensor, GraphNode>();
  const byId = new Map<number, GraphNode>();
  for (const node of program.nodes) {
    byId.set(node.id, node);
    for (const output of node.outputs) byTensor.set(output, node);
  }
  const owners = new Map<GraphNode, GraphNode>();
  const readers = new Map<Tensor, GraphNode>();
  const traced = liveNodes(program.graph);
  for (const node of [...traced].reverse()) {
    const own = node.outputs.map((output) => byTensor.get(output)).find((found) => found) ?? byId.get(node.id);
    const reader = node.outputs.map((output) => readers.get(output)).find((found) => found);
    const owner = own ?? (reader && owners.get(reader));
    if (owner) owners.set(node, owner);
    for (const operand of node.operands) if (operand instanceof Tensor) readers.set(operand, node);
  }
  const result = new Map<GraphNode, GraphNode[]>();
  for (const node of traced) {
    const owner = owners.get(node);
    if (owner) result.set(owner, [...(result.get(owner) ?? []), node]);
  }
  return result;
}

function checkProfile(program: Program, bound: number, profile: Profile): void {
  if (
    profile.program !== program.name ||
    profile.bound !== bound ||
    profile.dispatches.length !== program.dispatches.length
  ) {
    throw new ArgumentError(
      `explain: expected a profile of ${program.name} at bound ${bound} (${program.dispatches.length} dispatches), got one of ${profile.program} at bound ${profile.bound} (${profile.dispatches.length} dispatches).`,
    );
  }
}

/**
 * Says what was fused, lists the dispatches with their costs and, after a profiled run, their times.
 *
 * @throws ArgumentError for a profile of another program or another bound.
 */
export function explain(program: Program, options: ExplainOptions = {}): Explanation {
  const { bound = 0, profile, bytesPerSecond } = options;
  if (profile) checkProfile(program, bound, profile);
  const traced = tracedByLowered(program);
  const at = (cost: number | ((bound: number) => number)) => (typeof cost === 'function' ? cost(bound) : cost);
  const names = (node: GraphNode) => (traced.get(node) ?? [node]).map(operationName);
  const timed = (bytes: number, nanoseconds: number) => ({
    microseconds: nanoseconds / 1e3,
    ...(nanoseconds > 0 ? { bytesPerSecond: (bytes / nanoseconds) * 1e9 } : {}),
    ...(nanoseconds > 0 && bytesPerSecond ? { floorFraction: bytes / bytesPerSecond / (nanoseconds / 1e9) } : {}),
  });
  const dispatches = program.dispatches.map((dispatch, index): ExplainedDispatch => {
    const bytes = at(dispatch.bytes);
    return {
      label: dispatch.label,
      kernel: dispatch.kernel.name,
      section: dispatch.section,
      ...(dispatch.choice === undefined ? {} : { choice: dispatch.choice }),
      operations: names(dispatch.node),
      workgroups: Program.grid(dispatch, bound),
      bytes,
      flops: at(dispatch.flops),
      ...(profile ? timed(bytes, profile.dispatches[index]!.nanoseconds) : {}),
    };
  });
  const bytes = dispatches.reduce((sum, dispatch) => sum + dispatch.bytes, 0);
  const whole = profile && timed(bytes, profile.nanoseconds);
  return {
    program: program.name,
    bound,
    operations: [...traced.values()].reduce((sum, nodes) => sum + nodes.length, 0),
    fusions: [...traced]
      .filter(([, nodes]) => nodes.length > 1)
      .map(([node]) => ({ into: operationName(node), operations: names(node) })),
    dispatches,
    totals: {
      dispatches: dispatches.length,
      bytes,
      flops: dispatches.reduce((sum, dispatch) => sum + dispatch.flops, 0),
      ...(whole ? { microseconds: whole.microseconds } : {}),
      ...(whole?.floorFraction === undefined ? {} : { floorFraction: whole.floorFraction }),
      ...(profile
        ? { sections: Object.fromEntries(Object.entries(profile.sections).map(([name, ns]) => [name, ns / 1e3])) }
        : {}),
    },
    memory: {
      scratchBytes: program.plan.slotBytes.reduce((sum, size) => sum + size, 0),
      unsharedScratchBytes: program.plan.unsharedBytes,
      stateBytes: program.states.reduce((sum, state) => sum + state.byteLength, 0),
    },
  };
}

const units = ['', 'k', 'M', 'G', 'T'] as const;

/** A number with a metric prefix, three digits, as in `1.21 k`. */
function metric(value: number): string {
  const power = Math.min(units.length - 1, value < 1000 ? 0 : Math.floor(Math.log10(value) / 3));
  const scaled = value / 1000 ** power;
  return `${power === 0 && Number.isInteger(value) ? value : scaled.toPrecision(3)} ${units[power]}`;
}

const percent = (fraction: number | undefined) => (fraction === undefined ? '' : `${(100 * fraction).toFixed(0)}%`);
const fixed = (value: number | undefined, digits: number) => (value === undefined ? '' : value.toFixed(digits));

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The explanation as text: totals, what was fused, and a table of the dispatches. */
export function explanationText(explanation: Explanation): string {
  const { totals, memory, fusions, dispatches } = explanation;
  const measured = totals.microseconds !== undefined;
  const head = [
    `${explanation.program}: ${explanation.operations} operations in ${totals.dispatches} dispatches at bound ${explanation.bound}; ${metric(totals.bytes)}B, ${metric(totals.flops)}FLOP`,
    `memory: scratch ${metric(memory.scratchBytes)}B (${metric(memory.unsharedScratchBytes)}B unshared), states ${metric(memory.stateBytes)}B`,
    ...(measured
      ? [
          `time: ${fixed(totals.microseconds, 1)} us${totals.floorFraction === undefined ? '' : `, ${percent(totals.floorFraction)} of the memory floor`}`,
        ]
      : []),
    ...Object.entries(totals.sections ?? {}).map(([name, us]) => `  ${name}: ${fixed(us, 1)} us`),
  ];
  const fused = fusions.map(({ into, operations }) => `  ${into} <- ${operations.join(', ')}`);
  const rows = dispatches.map((dispatch, index) => [
    String(index),
    dispatch.label,
    dispatch.kernel,
    dispatch.workgroups.join('x'),
    dispatch.choice ?? '',
    `${metric(dispatch.bytes)}B`,
    metric(dispatch.flops).trim(),
    ...(measured
      ? [
          fixed(dispatch.microseconds, 2),
          dispatch.bytesPerSecond === undefined ? '' : `${metric(dispatch.bytesPerSecond)}B/s`,
          percent(dispatch.floorFraction),
        ]
      : []),
  ]);
  const titles = [
    '#',
    'label',
    'kernel',
    'workgroups',
    'choice',
    'bytes',
    'FLOP',
    ...(measured ? ['us', 'rate', 'of floor'] : []),
  ];
  return [...head, ...(fused.length > 0 ? ['fused:', ...fused] : ['fused: nothing']), table([titles, ...rows])].join(
    '\n',
  );
}
