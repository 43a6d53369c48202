import type { Engine, PassTime } from '@forerun/decoding';
import { timeForward, timePrefill } from '@forerun/decoding';
import type { DecoderConfig } from '@forerun/models';
import { cacheReadBytes } from '@forerun/models';
import type { AdapterDescription, WeightStore } from '@forerun/tensor';
import { measureBandwidth } from '@forerun/tensor';
import type { KernelTime } from './kernel-times.ts';
import { forwardKernelTimes, kernelTimes } from './kernel-times.ts';
import type { OutputCheck } from './output-check.ts';
import { checkOutputs } from './output-check.ts';
import { openLoopWords, timeRounds } from './round-timing.ts';

/** Cost of one step of plain decoding at a context. */
export interface StepReport {
  readonly context: number;
  /** Wall time of a step with several in flight, in ms. */
  readonly ms_per_token: number;
  readonly gpu_ms: number | undefined;
  readonly encode_ms: number;
  /** Bytes that a step must read, over the bandwidth measured in this run, in ms. */
  readonly floor_ms: number;
  /** floor_ms over gpu_ms (over ms_per_token where the GPU cannot be timed). */
  readonly fraction_of_floor: number;
  readonly dispatches: number;
  readonly bytes: number;
}

/** What an engine costs on its device. */
export interface EngineReport {
  readonly adapter: AdapterDescription;
  readonly features: readonly string[];
  readonly output_checked: boolean;
  readonly check: OutputCheck;
  readonly bandwidth_gb_per_s: number;
  readonly decode: StepReport;
  readonly contexts: readonly StepReport[];
  /** Where the first step's time goes, the longest first; empty where dispatches cannot be timed. */
  readonly kernels: readonly KernelTime[];
  /** GPU time (wall where it cannot be had) of a forward pass with the logits of all rows, by width, in ms. */
  readonly widths: Readonly<Record<string, number>>;
  /** Where the time of each such pass goes, the longest first. */
  readonly width_kernels: Readonly<Record<string, readonly KernelTime[]>>;
  readonly prefill: Readonly<Record<string, number>>;
  /** What was asked for and does not fit the model or the capacity. */
  readonly left_out: readonly string[];
  /** Reckoned before anything was loaded, for one conversation; what the device held after, and at most while measuring. */
  readonly memory: {
    readonly reckoned_bytes: number;
    readonly held_bytes: number;
    readonly peak_bytes: number;
    /** peak_bytes over reckoned_bytes. */
    readonly peak_over_reckoned: number;
  };
  readonly pipelines: number;
  readonly compile_ms: number;
}

/** What is measured. */
export interface EngineReportOptions {
  readonly store: WeightStore;
  readonly json: Readonly<Record<string, unknown>>;
  readonly config: DecoderConfig;
  readonly widths: readonly number[];
  readonly contexts: readonly number[];
  readonly prefills: readonly number[];
  readonly cache?: 'f32' | 'f16' | undefined;
  readonly onStage?: (stage: string) => void;
  /** Called with each figure as soon as there is one, so that what ends early leaves what it has. */
  readonly onMeasured?: (figure: object) => void;
}

/** Checks what is timed, then times steps, widths and prefill. */
export async function reportEngine(engine: Engine, options: EngineReportOptions): Promise<EngineReport> {
  const { store, json, config, widths, onStage = () => undefined, onMeasured = () => undefined } = options;
  const { device, capacityTokens } = engine;
  const hardware = device.adapter.kind === 'hardware';
  const [runs, trials] = hardware ? [8, 5] : [1, 2];
  const leftOut: string[] = [];
  const longest = Math.min(capacityTokens, engine.decoder.maxPositions);
  const fits = (tokens: number, what: string): boolean => {
    if (tokens <= longest) return true;
    leftOut.push(
      `${what} ${tokens}: ${longest < engine.decoder.maxPositions ? `the capacity is ${longest}` : `max_position_embeddings is ${longest}`}`,
    );
    return false;
  };

  // Before probes and checks compile programs of their own.
  const reckonedBytes = engine.memory.totalBytes;
  onStage('checking outputs');
  const check = await checkOutputs(engine, { store, widths, json, config });
  onMeasured({ adapter: device.adapter, output_checked: check.ok, check });
  onStage('measuring bandwidth');
  const bandwidth = (await measureBandwidth(device)).bytesPerSecond;

  const embeddingBytes = embeddingOnlyBytes(store, config);
  const plain = engine.speculation(undefined);
  const program = await plain.round(1);
  const step = async (context: number): Promise<StepReport> => {
    onStage(`step at ${context} tokens`);
    const states = plain.allocate();
    try {
      const words = openLoopWords(engine, Math.max(1, context - runs - 1));
      const time = await timeRounds(engine, program, { states, words, rounds: runs, width: 1, trials });
      const bytes = store.byteLength - embeddingBytes + cacheReadBytes(config, context, options.cache ?? 'f32');
      const floorMs = (bytes / bandwidth) * 1000;
      const report: StepReport = {
        context,
        ms_per_token: time.wallMs,
        gpu_ms: time.gpuMs,
        encode_ms: time.encodeMs,
        floor_ms: floorMs,
        fraction_of_floor: floorMs / (time.gpuMs ?? time.wallMs),
        dispatches: program.dispatches.length,
        bytes,
      };
      onMeasured({ step: report });
      return report;
    } finally {
      states.destroy();
    }
  };
  const contexts: StepReport[] = [];
  for (const context of options.contexts) if (fits(context, 'context')) contexts.push(await step(context));
  // Something is measured whatever was asked for.
  if (contexts.length === 0) contexts.push(await step(Math.min(longest, shortContext)));
  const decode = contexts[0]!;
  onStage('kernels of a step');
  const kernels = await kernelTimes(engine, {
    context: decode.context,
    gpuMs: decode.gpu_ms,
    bytesPerSecond: bandwidth,
  });

  onMeasured({ kernels });

  const byWidth: Record<string, number> = {};
  const widthKernels: Record<string, KernelTime[]> = {};
  for (const width of widths) {
    onStage(`forward of ${width} rows`);
    const length = Math.min(decode.context, capacityTokens - width);
    const time: PassTime = await timeForward(engine, width, { length, runs: hardware ? 4 : 1, trials });
    byWidth[width] = time.gpuMs ?? time.wallMs;
    onMeasured({ width, ms: byWidth[width] });
    widthKernels[width] = await forwardKernelTimes(engine, width, {
      length,
      gpuMs: time.gpuMs,
      bytesPerSecond: bandwidth,
    });
  }
  const prefill: Record<string, number> = {};
  for (const tokens of options.prefills) {
    if (!fits(tokens + 1, 'prefill')) continue;
    onStage(`prefill of ${tokens}`);
    prefill[tokens] = await timePrefill(engine, tokens);
    onMeasured({ prefill: tokens, ms: prefill[tokens] });
  }
  const { memory } = device;
  return {
    adapter: device.adapter,
    features: [...device.gpu.features].sort(),
    output_checked: check.ok,
    check,
    bandwidth_gb_per_s: bandwidth / 1e9,
    decode,
    contexts,
    kernels,
    widths: byWidth,
    width_kernels: widthKernels,
    prefill,
    left_out: leftOut,
    memory: {
      reckoned_bytes: reckonedBytes,
      held_bytes: memory.total,
      peak_bytes: memory.peak,
      peak_over_reckoned: memory.peak / reckonedBytes,
    },
    pipelines: device.pipelines.count,
    compile_ms: device.pipelines.compileMs,
  };
}

/** Tokens of the step that is measured where none of the asked lengths fits. */
const shortContext = 512;

/** Bytes of an embedding table that decoding reads only a row of. */
function embeddingOnlyBytes(store: WeightStore, config: DecoderConfig): number {
  if (config.tieWordEmbeddings) return 0;
  const table = store.weights.find(({ name }) => name.endsWith('embed_tokens.weight'));
  return table ? store.bytesOf(table) : 0;
}
