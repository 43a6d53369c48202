/** onnxruntime through onnxruntime-node: keys and values stay where they are computed, logits are read at every step. */
import { median } from 'forerun/bench';
import type { PeerFigures, PeerProtocol } from './protocol.ts';
import { peerPrompt, promptTokens } from './protocol.ts';
import { importFrom } from './llama.ts';
import type { OnnxActivations } from './shape-onnx.ts';

interface OnnxTensor {
  readonly data: Float32Array;
  dispose?(): void;
}

interface OnnxSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly { readonly name: string; readonly shape: readonly (number | string)[] }[];
  readonly outputMetadata: readonly { readonly name: string; readonly shape: readonly (number | string)[] }[];
  run(feeds: Readonly<Record<string, OnnxTensor>>): Promise<Record<string, OnnxTensor>>;
}

/** The part of onnxruntime-node that is used. */
interface OnnxModule {
  readonly Tensor: new (
    type: string,
    data: BigInt64Array | Uint16Array | Float32Array,
    dims: readonly number[],
  ) => OnnxTensor;
  readonly InferenceSession: { create(path: string, options: object): Promise<OnnxSession> };
}

/** Measures onnxruntime on a decoder of `writeShapeOnnx`. */
export async function measureOnnx(
  path: string,
  options: PeerProtocol & {
    readonly provider: 'webgpu' | 'cpu';
    readonly activations: OnnxActivations;
    readonly modules: string;
  },
): Promise<PeerFigures> {
  const { provider, activations, modules, tokens, runs, widths } = options;
  const { module, version } = await importFrom(modules, 'onnxruntime-node');
  const { Tensor, InferenceSession } = ((module as { default?: OnnxModule }).default ?? module) as OnnxModule;
  const start = performance.now();
  const place = provider === 'webgpu' ? 'gpu-buffer' : 'cpu';
  const settings = { executionProviders: [provider], graphOptimizationLevel: 'all', logSeverityLevel: 3 };
  const layers = (await InferenceSession.create(path, settings)).outputNames.filter((name) =>
    name.startsWith('present.'),
  );
  const places = Object.fromEntries(layers.map((name) => [name, place]));
  const session = await InferenceSession.create(path, {
    ...settings,
    preferredOutputLocation: { ...places, logits: 'cpu' },
  });
  const loadMs = performance.now() - start;

  const { shape } = session.inputMetadata.find(({ name }) => name === 'past_key_values.0.key')!;
  const vocabSize = Number(session.outputMetadata.find(({ name }) => name === 'logits')!.shape[2]);
  const none = () =>
    activations === 'f16'
      ? new Tensor('float16', new Uint16Array(0), [1, Number(shape[1]), 0, Number(shape[3])])
      : new Tensor('float32', new Float32Array(0), [1, Number(shape[1]), 0, Number(shape[3])]);
  const integers = (values: readonly number[]) =>
    new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  type Cache = Readonly<Record<string, OnnxTensor>>;
  const cacheOf = (outputs?: Record<string, OnnxTensor>): Cache =>
    Object.fromEntries(layers.map((name) => [name.replace('present', 'past_key_values'), outputs?.[name] ?? none()]));
  const drop = (cache: Cache) => Object.values(cache).forEach((tensor) => tensor.dispose?.());
  const step = async (ids: readonly number[], cache: Cache, length: number) => {
    const mask = integers(Array.from({ length: length + ids.length }, () => 1));
    const outputs = await session.run({ input_ids: integers(ids), attention_mask: mask, ...cache });
    return { cache: cacheOf(outputs), logits: outputs['logits']!.data };
  };
  const choose = (logits: Float32Array, row: number): number => {
    const own = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
    let best = 0;
    for (let token = 1; token < vocabSize; token++) if (own[token]! > own[best]!) best = token;
    if (!Number.isFinite(own[best]!)) throw new Error('onnxruntime gave logits that are not numbers.');
    return best;
  };

  const times: number[] = [];
  for (let run = 0; run <= runs; run++) {
    let { cache, logits } = await step(peerPrompt(promptTokens), cacheOf(), 0);
    let token = choose(logits, promptTokens - 1);
    const begin = performance.now();
    for (let count = 0; count < tokens; count++) {
      const next = await step([token], cache, promptTokens + count);
      drop(cache);
      ({ cache, logits } = next);
      token = choose(logits, 0);
    }
    if (run > 0) times.push((performance.now() - begin) / tokens);
    drop(cache);
  }
  const timed = async (work: () => Promise<{ cache: Cache }>): Promise<number> => {
    const each: number[] = [];
    for (let run = 0; run <= runs; run++) {
      const begin = performance.now();
      const { cache } = await work();
      if (run > 0) each.push(performance.now() - begin);
      drop(cache);
    }
    return median(each);
  };
  const long = peerPrompt(512);
  const prefillMs = await timed(() => step(long, cacheOf(), 0));
  const { cache: full } = await step(long, cacheOf(), 0);
  const passes: Record<string, number> = {};
  for (const width of widths) passes[width] = await timed(() => step(peerPrompt(width), full, 512));
  drop(full);
  return {
    engine: `onnxruntime ${provider}, ${activations}, by onnxruntime-node`,
    version,
    device: provider,
    greedy_ms: median(times),
    tokens,
    runs,
    prefill_512_ms: prefillMs,
    passes,
    passes_with_logits: true,
    load_ms: loadMs,
  };
}
