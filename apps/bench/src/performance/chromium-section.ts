import type { Attempt } from '../chromium/attempt.ts';
import type { ChromiumResult, Side } from '../chromium/compare-chromium.ts';
import type { StoriesReport } from '../chromium/measure.ts';
import { figure, markdownTable } from './markdown.ts';
import type { Results } from './results.ts';

type Replay = StoriesReport['replay'] | undefined;

/** Figures of one side's model, or of none. */
function modelRow(
  name: string,
  figures: { step?: StepFigures | undefined; encodeUs?: number | undefined; replay: Replay },
): string[] {
  const { step, encodeUs, replay } = figures;
  const best = replay?.best[0];
  return [
    name,
    figure(step?.ms_per_token),
    figure(step?.gpu_ms),
    figure(step?.encode_ms),
    step === undefined ? '–' : String(step.dispatches),
    figure(encodeUs),
    best === undefined ? '–' : String(best.width),
    figure(best?.ratio),
  ];
}

type StepFigures = StoriesReport['step'];

function sideRows(name: string, { shape, stories }: Side, config: string): string[][] {
  return [
    modelRow(`${config}, ${name}`, {
      step: shape?.decode,
      encodeUs: shape?.encode_us_per_dispatch,
      replay: shape?.speculation?.replay,
    }),
    modelRow(`stories, ${name}`, {
      step: stories?.step,
      encodeUs: stories?.encode_us_per_dispatch,
      replay: stories?.replay,
    }),
  ];
}

function attemptRow({ flags, switches, outcome, adapter, why, failure }: Attempt): string[] {
  const reached =
    adapter === undefined ? '–' : adapter.description || adapter.device || adapter.architecture || adapter.vendor;
  const said = (failure ?? why ?? '').replaceAll(/\s+/g, ' ').replaceAll('|', '\\|');
  return [flags, `\`${switches.join(' ')}\``, failure === undefined ? outcome : 'failed', reached, said];
}

function resultText([file, result]: readonly [string, ChromiumResult]): string[] {
  const { config, adapter, attempts, node, chromium, same_text } = result;
  const browser = attempts.find(({ browser: product }) => product !== undefined)?.browser ?? 'Chromium';
  const [nodeRead, ours] = [node.stories?.readback, chromium.stories?.readback];
  return [
    `Beside Node on ${adapter.device} in one run, taking turns (\`${file}\`): ${config} in q4 with random weights, and the shipped story model. Replay at an acceptance of 0.8, at the width that gave most, against plain runs beside it.`,
    markdownTable(
      ['model', 'ms a token', 'GPU ms', 'encode ms', 'dispatches', 'us a dispatch', 'rows', 'replay against plain'],
      [...sideRows('Node', node, config), ...sideRows(browser, chromium, config)],
    ),
    `Readback of a few words from an idle device, submit to mapped: ${figure(nodeRead?.median_ms)} ms in Node, ${figure(ours?.median_ms)} ms in Chromium (medians of ${nodeRead?.trials ?? ours?.trials ?? 0}). ${sameText(same_text)}`,
    'How Chromium was started, in order:',
    markdownTable(['flags', 'switches', 'outcome', 'adapter', 'what stopped it'], attempts.map(attemptRow)).replaceAll(
      '---:',
      '---',
    ),
  ];
}

function sameText(same: boolean | undefined): string {
  if (same === undefined) return 'Their texts were not compared.';
  return same ? 'Both wrote the same greedy text.' : 'Their greedy texts differ.';
}

/** The library in headless Chromium; that it has not run where it has not. */
export function chromiumSection({ chromium }: Results): string[] {
  const texts =
    chromium.length > 0
      ? chromium.flatMap(resultText)
      : [
          'Not run on a GPU: figures come from the part `chromium` of the programme. On a software adapter a test runs the same.',
        ];
  return ['## In headless Chromium', ...texts];
}
