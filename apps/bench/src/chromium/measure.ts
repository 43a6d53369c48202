/** What is measured in a page and in Node alike, so that the two can be compared. All of it is bundled for the page. */
import type { AdapterDescription, Device } from '@forerun/tensor';
import { requestDevice } from '@forerun/tensor';
import { load } from 'forerun';
import type { ConfigReport, ReadbackTime, ReplayReport } from 'forerun/bench';
import { openLoopWords, reportConfig, reportReplay, timeReadback, timeRounds } from 'forerun/bench';

/** How much is measured. It crosses into the page as JSON. */
export interface MeasureOptions {
  /** A config.json. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Tokens in the cache of the shape's steps. */
  readonly context: number;
  /** Tokens of each run. */
  readonly tokens: number;
  /** Pairs of a replayed run and a plain one. */
  readonly pairs: number;
  /** Chance that a replayed draft is right. */
  readonly acceptance: number;
  /** Rows of a round; plain decoding has 1. */
  readonly widths: readonly number[];
  /** Readbacks whose median is taken. */
  readonly readbacks: number;
}

/** A shape with random weights. */
export interface ShapeReport extends ConfigReport {
  /** Host time of a dispatch in a step, in us. */
  readonly encode_us_per_dispatch: number;
}

/** The shipped model. */
export interface StoriesReport {
  readonly load_ms: number;
  /** Every replayed text was the plain one. */
  readonly output_checked: boolean;
  /** Ids of the greedy text. */
  readonly text: readonly number[];
  /** A step of plain decoding, several in flight, in ms. */
  readonly step: {
    readonly ms_per_token: number;
    readonly gpu_ms: number | undefined;
    readonly encode_ms: number;
    readonly dispatches: number;
  };
  /** Host time of a dispatch in a step, in us. */
  readonly encode_us_per_dispatch: number;
  readonly replay: ReplayReport;
  readonly readback: ReadbackTime;
}

const prompt = 'Once upon a time, there was a little';
/** More than the longest story, and little enough for a software adapter. */
const storyCapacityTokens = 1024;
let device: Promise<Device> | undefined;

/** The one device of this page or process. */
function ownDevice(): Promise<Device> {
  return (device ??= requestDevice());
}

/** Which adapter computes here. @throws AdapterError when none does. */
export async function describeAdapter(): Promise<AdapterDescription> {
  return (await ownDevice()).adapter;
}

/** Measures a shape with random weights in q4: outputs checked, a step, rows at once, replay. */
export async function measureShape(
  options: MeasureOptions,
  onStage: (stage: string) => void = () => undefined,
): Promise<ShapeReport> {
  const { json, context, tokens, pairs, acceptance, widths } = options;
  const report = await reportConfig(json, {
    device: await ownDevice(),
    weights: 'q4',
    seed: 1,
    widths,
    contexts: [context],
    prefills: [],
    speculation: { context, tokens, pairs, acceptances: [acceptance], widths, heads: [], nodes: [] },
    onStage,
  });
  return { ...report, encode_us_per_dispatch: (1000 * report.decode.encode_ms) / report.decode.dispatches };
}

/** Measures the shipped model: its greedy text, a step, replay, and how long a readback takes. */
export async function measureStories(
  source: string,
  options: MeasureOptions,
  onStage: (stage: string) => void = () => undefined,
): Promise<StoriesReport> {
  onStage('loading the stories');
  const own = await ownDevice();
  const start = performance.now();
  using model = await load(source, { device: own, capacityTokens: storyCapacityTokens, keepDownloads: false });
  const loadMs = performance.now() - start;
  const { engine } = model;
  onStage('the plain text');
  const ids = model.encode(prompt);
  const request = { maxTokens: options.tokens, stopTokens: [], sampling: { temperature: 0, seed: 0 } };
  const { tokens: text } = await model.generate(ids, { ...request, drafter: 'none' }).result;
  onStage('readbacks');
  const readback = await timeReadback(engine, options.readbacks);
  onStage('a step of the stories');
  const timing = own.adapter.kind === 'hardware' ? { rounds: 8, trials: 5 } : { rounds: 2, trials: 1 };
  const program = await engine.speculation(undefined).round(1);
  const states = engine.allocate([]);
  const words = openLoopWords(engine, ids.length + text.length);
  const step = await timeRounds(engine, program, { states, words, width: 1, ...timing });
  states.destroy();
  const exact = await engine.exactWidths(options.widths);
  const widths = options.widths.filter((width) => width > 1 && exact.has(width));
  const { pairs, acceptance } = options;
  const replay = await reportReplay(engine, {
    prompt: ids,
    tokens: options.tokens,
    pairs,
    acceptances: [acceptance],
    widths,
    ...timing,
    onStage,
  });
  const dispatches = program.dispatches.length;
  return {
    load_ms: loadMs,
    output_checked: replay.points.every(({ output_equal }) => output_equal),
    text,
    step: { ms_per_token: step.wallMs, gpu_ms: step.gpuMs, encode_ms: step.encodeMs, dispatches },
    encode_us_per_dispatch: (1000 * step.encodeMs) / dispatches,
    replay,
    readback,
  };
}
