/** What there is to measure: first whether this device computes right, then what tells most. */

import { fileURLToPath } from 'node:url';

/** One process of the programme. */
export interface Part {
  /** Names its files. */
  readonly name: string;
  /** Seconds after which it is ended; about twice what it takes on a data-centre GPU. */
  readonly seconds: number;
  /** What the bundle is called with. */
  readonly parameters: readonly string[];
}

const presetsByWeight = ['llama-3.1-8b', 'qwen3-0.6b', 'qwen3-4b', 'qwen3-1.7b'] as const;
/** A folder of this repository, from wherever the programme is started. */
const folder = (path: string): string => fileURLToPath(new URL(`../../../../${path}`, import.meta.url));
const golden = folder('packages/goldens/fixtures/models');
const shipped = folder('packages/tiny/models/stories');

function random(preset: string, ...more: readonly string[]): readonly string[] {
  return ['bench', '--config', preset, '--random', '--json', ...more];
}

/**
 * Every part of the programme.
 *
 * @param options.peers - Folder whose node_modules hold the peers; without it they are not measured.
 * @param options.chromium - What starts Chromium; without it no browser is measured.
 */
export function partsOf(
  options: { readonly peers?: string | undefined; readonly chromium?: string | undefined } = {},
): readonly Part[] {
  const [large, small, ...between] = presetsByWeight;
  const part = (name: string, seconds: number, parameters: readonly string[]): Part => ({ name, seconds, parameters });
  const { peers, chromium } = options;
  const heads = ['--heads', 'eagle3,mtp,medusa'];
  // Every class of rounds, to see that none costs much more than the one below.
  const widths = ['--widths', '1,2,3,4,6,8,12,16,24,32,48,64'];
  return [
    part('devices', 20, ['devices', '--json']),
    part('prove-goldens', 120, [
      'check',
      ...['llama', 'qwen3', 'qwen2', 'mistral-swa', 'lfm2'].map((name) => `${golden}/${name}`),
      '--json',
    ]),
    part('prove-kernels', 120, ['kernels', '--models', small, '--rows', '1,4,16', '--contexts', '512']),
    part('prove-exact', 120, ['check', '--exact', shipped, '--widths', '4', '16', '--tokens', '100', '--json']),
    // One process measures all of a shape and an arithmetic: compiling its pipelines takes as long as what is measured.
    part(`${large}-f16`, 360, random(large, '--arithmetic', 'f16', '--speculation', ...heads, '--draft', small)),
    part(
      `${large}-i8`,
      240,
      random(large, '--arithmetic', 'i8', ...widths, '--speculation', '--acceptances', '0.3,0.8'),
    ),
    part(`${small}-f16`, 300, random(small, '--arithmetic', 'f16', ...widths, '--speculation', ...heads)),
    part(`${large}-f32`, 150, random(large, '--arithmetic', 'f32')),
    part(`${small}-i8`, 150, random(small, '--arithmetic', 'i8')),
    part(`${small}-f32`, 150, random(small, '--arithmetic', 'f32')),
    part('kernels', 180, ['kernels']),
    part('matrix-units', 180, [
      'kernels',
      '--rows',
      '128,512',
      '--arithmetics',
      'f16',
      '--parts',
      'matrices',
      '--experimental',
      'subgroup-matrix',
    ]),
    ...(peers === undefined
      ? []
      : [large, small].map((preset) => part(`peers-${preset}`, 300, ['peers', preset, '--modules', peers]))),
    ...(chromium === undefined ? [] : [part('chromium', 240, ['chromium', '--executable', chromium])]),
    part('stories', 60, ['bench', '--json', '--tokens', '400']),
    part('stories-speculative', 420, ['bench', 'speculative', '--json']),
    part('stories-profile', 60, ['profile', '4', '--json']),
    part('stories-acceptance', 240, ['acceptance', '200', '200', '--temperatures', '0']),
    part('stories-perplexity', 90, ['perplexity', '4000']),
    part('stories-exact', 400, ['check', '--exact', shipped, '--tokens', '1000', '--json']),
    part('load-2gb', 60, ['load-memory', '2']),
    part('load-16gb', 180, ['load-memory', '16', 'q4']),
    ...between.map((preset) => part(`${preset}-f16`, 150, random(preset, '--arithmetic', 'f16'))),
    part('endurance', 120, ['endurance', '20000']),
  ];
}

/** A part that was asked for and does not exist. */
export class UnknownPartError extends Error {
  constructor(name: string, known: readonly string[]) {
    super(`There is no part ${name}; expected the beginning of one of ${known.join(', ')}.`);
    this.name = 'UnknownPartError';
  }
}

/**
 * The parts whose names begin with one of `only` (all without any) and with none of `skip`.
 *
 * @throws {@link UnknownPartError} for a beginning that no part has.
 */
export function chosenParts(
  parts: readonly Part[],
  { only, skip }: { readonly only: readonly string[]; readonly skip: readonly string[] },
): readonly Part[] {
  for (const name of [...only, ...skip]) {
    if (parts.some((part) => part.name.startsWith(name))) continue;
    throw new UnknownPartError(
      name,
      parts.map((part) => part.name),
    );
  }
  const among = (names: readonly string[], part: Part) => names.some((name) => part.name.startsWith(name));
  return parts.filter((part) => (only.length === 0 || among(only, part)) && !among(skip, part));
}
