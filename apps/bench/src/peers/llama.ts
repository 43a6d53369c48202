/** llama.cpp through node-llama-cpp, as its users call it. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { median } from 'forerun/bench';
import type { PeerFigures, PeerProtocol } from './protocol.ts';
import { peerPrompt, promptTokens } from './protocol.ts';

/** A package that has to be installed beside the benchmark. */
export class PeerMissingError extends Error {
  constructor(name: string, folder: string, cause: unknown) {
    super(
      `${name} could not be loaded from ${folder}: ${(cause as Error).message} Install it there: npm install ${name}`,
      { cause },
    );
    this.name = 'PeerMissingError';
  }
}

/** Loads a package from the node_modules of a folder. */
export async function importFrom(folder: string, name: string): Promise<{ module: unknown; version: string }> {
  try {
    const entry = createRequire(join(folder, 'package.json')).resolve(name);
    const root = entry.slice(0, entry.lastIndexOf(join('node_modules', name)) + join('node_modules', name).length);
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    return { module: await import(pathToFileURL(entry).href), version };
  } catch (cause) {
    throw new PeerMissingError(name, folder, cause);
  }
}

/** The part of node-llama-cpp that is used. */
interface LlamaModule {
  readonly LlamaLogLevel: { readonly error: unknown };
  getLlama(options: object): Promise<{
    readonly gpu: string | false;
    getGpuDeviceNames(): Promise<readonly string[]>;
    loadModel(options: object): Promise<{
      createContext(options: object): Promise<{ getSequence(): LlamaSequence }>;
    }>;
  }>;
}

interface LlamaSequence {
  clearHistory(): Promise<void>;
  evaluate(tokens: readonly number[], options: object): AsyncIterable<number>;
  evaluateWithoutGeneratingNewTokens(tokens: readonly number[]): Promise<void>;
  eraseContextTokenRanges(ranges: readonly { start: number; end: number }[]): Promise<void>;
}

/** llama.cpp's backends that node-llama-cpp ships; `cpu` for trying the script where there is no GPU. */
export type LlamaBackend = 'vulkan' | 'cuda' | 'cpu';

const contextTokens = 1024;
const passRepeats = 10;

/** Time of evaluating `tokens` from position `at`, the queue drained by the one token that is generated behind it. */
async function drained(sequence: LlamaSequence, work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  for await (const _ of sequence.evaluate([1], { temperature: 0, yieldEogToken: true })) break;
  return performance.now() - start;
}

/** Measures llama.cpp on a GGUF file. */
export async function measureLlama(
  path: string,
  options: PeerProtocol & { readonly backend: LlamaBackend; readonly modules: string },
): Promise<PeerFigures> {
  const { backend, modules, tokens, runs, widths } = options;
  const { module, version } = await importFrom(modules, 'node-llama-cpp');
  const { getLlama, LlamaLogLevel } = module as LlamaModule;
  const gpu = backend === 'cpu' ? false : backend;
  const llama = await getLlama({ gpu, build: 'never', skipDownload: true, logLevel: LlamaLogLevel.error });
  const devices = await llama.getGpuDeviceNames();
  if (gpu !== false && devices.length === 0) throw new Error(`llama.cpp finds no GPU through ${gpu}.`);
  const start = performance.now();
  const model = await llama.loadModel({ modelPath: path, gpuLayers: gpu === false ? 0 : 'max' });
  const context = await model.createContext({ contextSize: contextTokens, batchSize: 512, flashAttention: true });
  const sequence = context.getSequence();
  const loadMs = performance.now() - start;

  const times: number[] = [];
  for (let run = 0; run <= runs; run++) {
    await sequence.clearHistory();
    let count = 0;
    let begin = 0;
    for await (const _ of sequence.evaluate(peerPrompt(promptTokens), { temperature: 0, yieldEogToken: true })) {
      // The first token pays for the prompt.
      if (count === 0) begin = performance.now();
      if (count++ === tokens) break;
    }
    if (run > 0) times.push((performance.now() - begin) / tokens);
  }

  const long = peerPrompt(512);
  const fill = async (count: number) => {
    await sequence.clearHistory();
    return drained(sequence, () => sequence.evaluateWithoutGeneratingNewTokens(long.slice(0, count)));
  };
  const prefills: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const [whole, one] = [await fill(512), await fill(1)];
    if (run > 0) prefills.push(whole - one);
  }

  const passes: Record<string, number> = {};
  for (const width of widths) {
    const rows = peerPrompt(width);
    const series = async (count: number) => {
      await fill(512);
      return drained(sequence, async () => {
        for (let pass = 0; pass < count; pass++) {
          await sequence.evaluateWithoutGeneratingNewTokens(rows);
          await sequence.eraseContextTokenRanges([{ start: 512, end: 512 + width + 2 }]);
        }
      });
    };
    const each: number[] = [];
    for (let run = 0; run <= runs; run++) {
      const [many, one] = [await series(passRepeats + 1), await series(1)];
      if (run > 0) each.push((many - one) / passRepeats);
    }
    passes[width] = median(each);
  }
  return {
    engine: `llama.cpp ${backend}, by node-llama-cpp`,
    version,
    device: devices.join(', ') || 'cpu',
    greedy_ms: median(times),
    tokens,
    runs,
    prefill_512_ms: median(prefills),
    passes,
    passes_with_logits: false,
    load_ms: loadMs,
  };
}
