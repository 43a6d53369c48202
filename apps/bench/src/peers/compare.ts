import type { ConfigJson } from '@forerun/checkpoints';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { median } from 'forerun/bench';
import { type LlamaBackend, measureLlama } from './llama.ts';
import { measureOnnx } from './onnx.ts';
import { measureOurs } from './ours.ts';
import type { PeerFigures, PeerProtocol } from './protocol.ts';
import { writeShapeOnnx } from './shape-onnx.ts';

/** Engines that can take part. */
export const engineNames: readonly string[] = [
  'ours-f32',
  'ours-f16',
  'ours-i8',
  'vulkan',
  'cuda',
  'cpu',
  'onnx',
  'onnx-cpu',
];

/** Measures one engine in this process. */
export async function measureEngine(
  engine: string,
  options: PeerProtocol & { readonly json: ConfigJson; readonly modules: string; readonly file: string },
): Promise<PeerFigures> {
  const { file, json } = options;
  const [who, arithmetic] = engine.split('-');
  if (who === 'ours') return measureOurs(file, { ...options, arithmetic: arithmetic as 'f32' | 'f16' | 'i8' });
  if (who === 'onnx') {
    const [provider, activations] = arithmetic === 'cpu' ? (['cpu', 'f32'] as const) : (['webgpu', 'f16'] as const);
    const folder = `${file}.onnx-${activations}`;
    if (!existsSync(join(folder, 'model.onnx'))) await writeShapeOnnx(json, folder, activations);
    return measureOnnx(join(folder, 'model.onnx'), { ...options, provider, activations });
  }
  return measureLlama(file, { ...options, backend: engine as LlamaBackend });
}

/** One engine over all rounds. */
export interface PeerResult {
  readonly name: string;
  /** The last round's figures; `greedy_ms` is the median of all. */
  readonly figures: PeerFigures | undefined;
  /** Its time a token over that of the fastest of ours: above 1 ours is ahead. */
  readonly greedy_over_ours: number | undefined;
  /** Why there are no figures. */
  readonly failure: string | undefined;
}

/** Engines beside each other. */
export interface PeerReport {
  readonly rounds: number;
  readonly engines: readonly PeerResult[];
}

/** How engines are started. */
export interface ComparePeersOptions {
  /** Turns of every engine. */
  readonly rounds: number;
  /** The process that measures an engine and prints its {@link PeerFigures}. */
  readonly command: (engine: string) => readonly string[];
  readonly onEngine?: (text: string) => void;
}

/** What a process that broke said of it: the error's own line before lines of source, without the folders of the machine. */
function lastWords(err: string): string {
  const lines = err.trim().split('\n');
  const why =
    lines.find((text) => /^\w*Error: /.test(text)) ?? lines.find((text) => /error/i.test(text)) ?? lines.at(-1)!;
  return why.replaceAll(/(?:\/[^\s/:]+)+\//g, '');
}

async function figuresOf(command: readonly string[]): Promise<PeerFigures> {
  const [program, ...parameters] = command;
  const child = spawn(program!, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  const last = out.trim().split('\n').at(-1) ?? '';
  if (code !== 0 || !last.startsWith('{')) {
    throw new Error(`ended with ${code}: ${lastWords(err) || 'no figures came'}`);
  }
  return JSON.parse(last) as PeerFigures;
}

/** Lets engines take turns, each turn in a process of its own. An engine that fails is named with what it said. */
export async function comparePeers(engines: readonly string[], options: ComparePeersOptions): Promise<PeerReport> {
  const { rounds, command, onEngine = () => undefined } = options;
  const all = new Map<string, PeerFigures[]>(engines.map((engine) => [engine, []]));
  const failures = new Map<string, string>();
  for (let round = 0; round < rounds; round++) {
    for (const engine of engines) {
      if (failures.has(engine)) continue;
      try {
        const figures = await figuresOf(command(engine));
        all.get(engine)!.push(figures);
        onEngine(`${engine}: ${figures.greedy_ms.toFixed(3)} ms a token`);
      } catch (error) {
        failures.set(engine, (error as Error).message);
        onEngine(`${engine}: ${(error as Error).message}`);
      }
    }
  }
  const greedy = (engine: string) => median(all.get(engine)!.map(({ greedy_ms }) => greedy_ms));
  const ours = Math.min(
    ...engines.filter((engine) => engine.startsWith('ours') && all.get(engine)!.length > 0).map(greedy),
  );
  return {
    rounds,
    engines: engines.map((name) => {
      const last = all.get(name)!.at(-1);
      const time = last && greedy(name);
      return {
        name,
        figures: last && { ...last, greedy_ms: time! },
        greedy_over_ours: time !== undefined && Number.isFinite(ours) ? time / ours : undefined,
        failure: failures.get(name),
      };
    }),
  };
}
