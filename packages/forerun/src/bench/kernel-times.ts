/** Where a step's time goes, kernel by kernel. */
import type { Engine } from '@forerun/decoding';
import { profileForward } from '@forerun/decoding';
import type { Explanation } from '@forerun/tensor';
import { canProfile, explain, profile } from '@forerun/tensor';
import { openLoopWords } from './round-timing.ts';

/** Dispatches of one kind in a step, added up. */
export interface KernelTime {
  /** What it computes: the operation, and the weight without its layer's number. */
  readonly name: string;
  readonly dispatches: number;
  readonly bytes: number;
  /** GPU time in ms, less what a pass of its own costs each dispatch. */
  readonly ms: number;
  /** Time that its bytes take at the measured bandwidth, in ms. */
  readonly floor_ms: number;
}

const withoutLayer = (label: string): string => label.replace(/\blayers\.\d+\./g, '').replace(/\bmodel\./g, '');

/**
 * Profiles a step of plain decoding at a context. A profiled run has a pass a dispatch, which costs each the same; that is taken off, so that
 * the sum is the time of the step in one pass. Empty where the device has no timestamps.
 */
export async function kernelTimes(
  engine: Engine,
  options: { context: number; gpuMs: number | undefined; bytesPerSecond: number },
): Promise<KernelTime[]> {
  const { context, gpuMs } = options;
  if (gpuMs === undefined || !canProfile(engine.device)) return [];
  const plain = engine.speculation(undefined);
  const program = await plain.round(1);
  const states = plain.allocate();
  try {
    const bound = Math.min(context, engine.capacityTokens);
    const words = openLoopWords(engine, Math.max(1, bound - 1));
    const prepare = () => states.write(engine.loop.loop, words);
    const measured = await profile(program, { states, bound, repeats: 5, prepare });
    return byKind(explain(program, { bound, profile: measured }), { ...options, gpuMs });
  } finally {
    states.destroy();
  }
}

/** The same of a forward pass of `width` rows. */
export async function forwardKernelTimes(
  engine: Engine,
  width: number,
  options: { length: number; gpuMs: number | undefined; bytesPerSecond: number },
): Promise<KernelTime[]> {
  const { length, gpuMs } = options;
  if (gpuMs === undefined || !canProfile(engine.device)) return [];
  return byKind(await profileForward(engine, width, { length }), { ...options, gpuMs });
}

/** Adds up dispatches of one kind, less what a pass of its own costs each, the longest first. */
function byKind(
  { dispatches }: Explanation,
  { gpuMs, bytesPerSecond }: { gpuMs: number; bytesPerSecond: number },
): KernelTime[] {
  const total = dispatches.reduce((sum, { microseconds = 0 }) => sum + microseconds / 1e3, 0);
  const excessMs = (total - gpuMs) / Math.max(1, dispatches.length);
  const kinds = new Map<string, { dispatches: number; bytes: number; ms: number }>();
  for (const { label, bytes, microseconds = 0 } of dispatches) {
    const name = withoutLayer(label);
    const kind = kinds.get(name) ?? { dispatches: 0, bytes: 0, ms: 0 };
    kind.dispatches++;
    kind.bytes += bytes;
    kind.ms += Math.max(0, microseconds / 1e3 - Math.max(0, excessMs));
    kinds.set(name, kind);
  }
  return [...kinds]
    .map(([name, kind]) => ({ name, ...kind, floor_ms: (kind.bytes / bytesPerSecond) * 1e3 }))
    .sort((a, b) => b.ms - a.ms);
}
