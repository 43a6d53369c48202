import { figure, markdownTable, percent } from './markdown.ts';
import type { KernelRow, KernelsAloneResult, Results } from './results.ts';

type Arithmetic = 'f32' | 'f16' | 'i8';

/** Kernels that take less of a step than this share are not listed. */
const leastShare = 0.01;
/** A kernel that takes at most this much more than predicted has met its prediction. */
const slack = 1.1;

interface Profiled {
  readonly title: string;
  readonly arithmetic: Arithmetic;
  readonly kernels: readonly KernelRow[];
  /** What the profile itself adds to each dispatch, in us. */
  readonly passUs: number;
  /** What a streaming read reached on the same card, in GB/s. */
  readonly ceiling: number;
}

/** Time that a kernel's dispatches and bytes are predicted to take: a barrier each, and the share of the ceiling reached alone. */
export function predictedMs(
  { dispatches, bytes = 0 }: Pick<KernelRow, 'dispatches' | 'bytes'>,
  {
    alone,
    arithmetic,
    passUs,
    ceiling,
  }: Pick<Profiled, 'arithmetic' | 'passUs' | 'ceiling'> & { alone: KernelsAloneResult },
): number {
  const bytesPerMs = ceiling * 1e6 * alone.fraction_of_ceiling[arithmetic];
  return (dispatches * (alone.dispatch_us + passUs)) / 1e3 + bytes / bytesPerMs;
}

function table({ title, arithmetic, kernels, passUs, ceiling }: Profiled, alone: KernelsAloneResult): string {
  const whole = kernels.reduce((sum, { ms }) => sum + ms, 0);
  const rows = kernels
    .filter(({ ms }) => ms >= leastShare * whole)
    .map((kernel) => {
      const floor = kernel.bytes === undefined ? undefined : kernel.bytes / (ceiling * 1e6);
      const predicted = predictedMs(kernel, { alone, arithmetic, passUs, ceiling });
      const over = kernel.ms / predicted;
      const outcome = over <= slack ? 'met' : `${figure(over)} times as long`;
      return [
        kernel.name,
        String(kernel.dispatches),
        figure(floor),
        figure(predicted),
        figure(kernel.ms),
        percent(floor === undefined ? undefined : floor / kernel.ms),
        outcome,
      ];
    });
  const head = ['kernel', 'dispatches', 'floor ms', 'predicted ms', 'measured ms', 'of floor', 'outcome'];
  return `### ${title}\n\n${markdownTable(head, rows)}`;
}

/** Floor, prediction, measurement and outcome of the kernels of a step. */
export function kernelSection({ engines, kernelTimes, alone }: Results): string {
  const profiled: Profiled[] = [
    ...engines.flatMap(([, { config, arithmetic = 'f32', decode, kernels = [], bandwidth_gb_per_s: ceiling }]) =>
      kernels.length === 0
        ? []
        : [{ title: `${config}, ${arithmetic}, context ${decode.context}`, arithmetic, kernels, passUs: 0, ceiling }],
    ),
    ...kernelTimes.map(([, { config, arithmetic, context, kernels, pass_us }]) => ({
      title: `${config}, ${arithmetic}, context ${context}, by an early profile that adds ${pass_us} us to each dispatch`,
      arithmetic,
      kernels,
      passUs: pass_us,
      ceiling: alone.ceiling_gb_per_s,
    })),
  ];
  const { dispatch_us, fraction_of_ceiling } = alone;
  const shares = Object.entries(fraction_of_ceiling).map(([name, share]) => `${percent(share)} (${name})`);
  return [
    '## Kernels',
    `Floor: bytes over what a streaming read reached on the same card. Prediction: ${dispatch_us} us a dispatch for the barrier, and the bytes at ${shares.join(', ')} of the ceiling, which is what the matrices of the 8B shape reached alone; in an early profile what it adds is in both columns. A kernel has met it within 10 %.`,
    ...profiled.map((one) => table(one, alone)),
  ].join('\n\n');
}
