import { figure, markdownTable } from './markdown.ts';
import type { EngineResult, PeersMeasuredResult, PeerTimes, Results } from './results.ts';

const shapes = ['qwen3-0.6b', 'llama-3.1-8b'] as const;
type Shape = (typeof shapes)[number];

interface Ours {
  readonly name: string;
  readonly times: Partial<Record<Shape, number>>;
}

/** Ours by arithmetic, of results in 4 bits, the fastest where there are several. */
function ours(engines: Results['engines'], timeOf: (result: EngineResult) => number | undefined): Ours[] {
  const byArithmetic = new Map<string, Partial<Record<Shape, number>>>();
  for (const [, result] of engines) {
    const shape = shapes.find((known) => known === result.config);
    const time = timeOf(result);
    if (!shape || time === undefined || result.weights !== 'q4') continue;
    const { arithmetic = 'f32' } = result;
    const times = byArithmetic.get(arithmetic) ?? {};
    times[shape] = Math.min(times[shape] ?? Infinity, time);
    byArithmetic.set(arithmetic, times);
  }
  return [...byArithmetic].map(([arithmetic, times]) => ({ name: `**forerun, ${arithmetic}**`, times }));
}

/** Peers and ours. Measured on one card, it says too how many times as long as the best of ours each takes. */
function comparison(peers: readonly PeerTimes[], own: readonly Ours[], oneCard: boolean): string {
  const best = (shape: Shape) => Math.min(...own.map(({ times }) => times[shape] ?? Infinity));
  const over = (times: Partial<Record<Shape, number>>, shape: Shape) =>
    oneCard ? [figure((times[shape] ?? NaN) / best(shape))] : [];
  const cells = (times: Partial<Record<Shape, number>>) =>
    shapes.flatMap((shape) => [figure(times[shape]), ...over(times, shape)]);
  const rows = [
    ...own.map(({ name, times }) => [name, ...cells(times)]),
    ...peers.map((peer) => [peer.stack, ...cells(peer)]),
  ];
  return markdownTable(
    ['stack', ...shapes.flatMap((shape) => [`${shape}, ms`, ...(oneCard ? ['over ours'] : [])])],
    rows,
  );
}

function passes({ passes: peers }: PeersMeasuredResult, engines: Results['engines']): string {
  const widths = ['2', '4', '8', '16', '32'];
  const row = (name: string, ms: Readonly<Record<string, number>>) => [
    name,
    figure(ms['1']),
    ...widths.map((width) => figure((ms[width] ?? NaN) / ms['1']!)),
  ];
  const rows = shapes.flatMap((shape) => [
    ...engines
      .filter(([, { config, weights }]) => config === shape && weights === 'q4')
      .map(([, { arithmetic = 'f32', widths: own }]) => row(`**forerun, ${arithmetic}**, ${shape}`, own)),
    ...peers.filter(({ model }) => model === shape).map(({ stack, ms }) => row(`${stack}, ${shape}`, ms)),
  ]);
  return markdownTable(['stack', 't(1), ms', ...widths.map((width) => `t(${width}) / t(1)`)], rows);
}

/** The same shapes in other stacks. */
export function peerSection({ engines, peers, peerRuns }: Results): string[] {
  const runs = peerRuns.flatMap(([file, { model, engines: took }]) => [
    `### In one run, ${model}`,
    `One GGUF file, the engines in turn, each in a process of its own; greedy decoding, choice of the token included (\`${file}\`).`,
    markdownTable(
      ['engine', 'ms a token', 'over ours', 'prefill of 512, ms', 'device'],
      took.map(({ name, figures, greedy_over_ours, failure }) =>
        figures
          ? [
              `${figures.engine} (${figures.version})`,
              figure(figures.greedy_ms),
              figure(greedy_over_ours),
              figure(figures.prefill_512_ms),
              figures.device,
            ]
          : [name, '–', '–', '–', failure ?? ''],
      ),
    ),
  ]);
  const wall = ours(engines, ({ decode }) => decode.ms_per_token);
  const prefill = ours(engines, ({ prefill: own }) => own['512']);
  const card = (device: string) => /[a-z]+\d{3,4}/i.exec(device)?.[0].toLowerCase();
  const oneCard = engines.every(([, { adapter }]) => card(adapter.device) === card(peers.device));
  const cards = oneCard
    ? 'Ours and theirs on one card.'
    : `Ours as above, the peers on a ${peers.device}, whose memory was read at ${figure(peers.read_gb_per_s)} GB/s: times on two cards say how far apart the stacks are at most roughly. What was measured in one run stands first.`;
  return [
    '## Against peers',
    'Above 1 in "over ours", we are ahead.',
    ...runs,
    '### One token',
    `Ours: wall time of a step with sampling behind 512 tokens. Each row of peers says whether it chooses tokens. ${cards}`,
    comparison(peers.decode, wall, oneCard),
    '### Prefill of 512 tokens',
    comparison(peers.prefill_512, prefill, oneCard),
    '### M tokens at once behind 512',
    passes(peers, engines),
  ];
}
