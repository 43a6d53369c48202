/** docs/performance.md, made of results alone: no figure of the page stands here. */
import { chromiumSection } from './chromium-section.ts';
import { figure, markdownTable, percent } from './markdown.ts';
import { kernelSection } from './kernel-section.ts';
import { peerSection } from './peer-section.ts';
import type { EngineResult, Results } from './results.ts';
import { speculationSection } from './speculation-section.ts';

/** What a result is called in tables: model, weights, arithmetic. */
export function engineName({ config, weights, arithmetic = 'f32', cache }: EngineResult): string {
  return `${config}, ${weights} weights, ${arithmetic} arithmetic, ${cache} cache`;
}

function decodeSection({ engines }: Results): string {
  const rows = engines.flatMap(([file, result]) =>
    result.contexts.map((step) => [
      engineName(result),
      figure(step.context),
      figure(result.bandwidth_gb_per_s),
      figure(step.floor_ms),
      figure(step.gpu_ms),
      figure(step.encode_ms),
      figure(step.ms_per_token),
      percent(step.floor_ms / (step.gpu_ms ?? step.ms_per_token)),
      String(step.dispatches),
      `\`${file}\``,
    ]),
  );
  const head = [
    'model',
    'context',
    'GB/s',
    'floor ms',
    'GPU ms',
    'encode ms',
    'wall ms',
    'of floor',
    'dispatches',
    'file',
  ];
  return [
    '## One token',
    'A step of plain decoding with sampling and bookkeeping. The floor is the bytes that the step must read over the bandwidth that a streaming read reached in the same run (GB/s). Encode is the time of the host alone, wall the time from step to step with several in flight; where it is the sum of the two, all steps were encoded before the first ran.',
    markdownTable(head, rows),
  ].join('\n\n');
}

function widthSection({ engines, alone }: Results): string {
  const widths = [...new Set(engines.flatMap(([, { widths: own }]) => Object.keys(own)))]
    .map(Number)
    .sort((a, b) => a - b)
    .filter((width) => width > 1);
  const measured = engines.map(([, result]) => [
    engineName(result),
    `${figure(result.widths['1'])} ms`,
    ...widths.map((width) => figure(result.widths[width]! / result.widths['1']!)),
  ]);
  const predicted = alone.chains
    .filter(({ model }) => engines.some(([, { config }]) => config === model))
    .map(({ model, arithmetic, ms, ratios }) => [
      `${model}, matrices alone, ${arithmetic}`,
      `${figure(ms)} ms`,
      ...widths.map((width) => figure(ratios[width])),
    ]);
  return [
    '## M rows against one',
    'A forward pass with the logits of all rows, t(M) / t(1). Speculation pays where a round gives more tokens than this. The bits of every row were equal at all of these widths. "Matrices alone" is what the same matrices take in a chain of their own, without norms, attention and sampling: what the kernels promise.',
    markdownTable(['model', 't(1)', ...widths.map((width) => `M = ${width}`)], [...measured, ...predicted]),
  ].join('\n\n');
}

function prefillSection({ engines }: Results): string {
  const lengths = [...new Set(engines.flatMap(([, { prefill }]) => Object.keys(prefill)))].sort((a, b) => +a - +b);
  const rows = engines.map(([, result]) => [
    engineName(result),
    ...lengths.map((length) => figure(result.prefill[length])),
  ]);
  return [
    '## Prefill',
    "Into an empty cache, in passes of the sizes that the device was measured to be best at; ms. Tiles on matrix units (`experimental: ['subgroup-matrix']`, docs/compatibility.md) are off by default: no figure of this page is theirs.",
    markdownTable(['model', ...lengths.map((length) => `${length} tokens`)], rows),
  ].join('\n\n');
}

function memorySection({ engines }: Results): string {
  const megabytes = (bytes: number) => `${figure(bytes / 1e6)} MB`;
  const rows = engines.map(([, { memory, ...result }]) => [
    engineName(result as EngineResult),
    megabytes(memory.reckoned_bytes),
    megabytes(memory.peak_bytes),
    percent(memory.peak_bytes / memory.reckoned_bytes),
  ]);
  return [
    '## Memory',
    'Device bytes: reckoned before anything is loaded, and the most that was held while measuring.',
    markdownTable(['model', 'reckoned', 'peak', 'peak / reckoned'], rows),
  ].join('\n\n');
}

function triedSection({ tried }: Results): string {
  const rows = tried.entries.map(({ what, gave, outcome }) => [what, gave, outcome]);
  return [
    '## What was tried',
    'More in the [log](log.md).',
    markdownTable(['what', 'what it gave', 'outcome'], rows).replaceAll('---:', '---'),
  ].join('\n\n');
}

function methodSection({ engines, alone, peers }: Results): string {
  const cards = [...new Set(engines.map(([, { adapter }]) => `${adapter.device} (${adapter.description})`))];
  const versions = Object.entries(peers.versions).map(([name, version]) => `${name} ${version}`);
  return [
    '## How it was measured',
    [
      `- Here: ${cards.join('; ')}, by \`forerun bench --config … --random --json\`: weights made on the device, outputs checked before anything is timed, best of several trials.`,
      `- Matrices alone: ${alone.device}, driver ${alone.driver}. ${alone.method}`,
      `- Peers: ${peers.device}, driver ${peers.driver}; ${peers.host}; ${versions.join('; ')}. ${peers.method}`,
      '- The same again: `apps/bench/README.md`.',
    ].join('\n'),
  ].join('\n\n');
}

/** The page. */
export function performancePage(results: Results): string {
  const sections = [
    '# Performance',
    'Made by `apps/bench/src/performance-docs.ts` from `apps/bench/results`. Times, rates and bytes held were measured; floors and predictions are reckoned from them as each section says. Losses stand beside wins.',
    decodeSection(results),
    kernelSection(results),
    widthSection(results),
    prefillSection(results),
    ...speculationSection(results),
    ...chromiumSection(results),
    ...peerSection(results),
    memorySection(results),
    triedSection(results),
    methodSection(results),
  ];
  return `${sections.join('\n\n')}\n`;
}
