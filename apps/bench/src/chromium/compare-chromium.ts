/** Chromium beside Node on one adapter: each measures the same, in turn. */
import type { AdapterDescription } from '@forerun/tensor';
import { attempt, type Attempt, type Opened } from './attempt.ts';
import { chosenSets } from './flag-sets.ts';
import type { MeasureOptions, ShapeReport, StoriesReport } from './measure.ts';
import { describeAdapter, measureShape, measureStories } from './measure.ts';
import { servePage } from './serve-page.ts';

/** What one of the two measured; a part that failed or was cut is missing. */
export interface Side {
  shape?: ShapeReport;
  stories?: StoriesReport;
}

/** `chromium`, as it is written. */
export interface ChromiumResult {
  readonly kind: 'chromium';
  readonly config: string;
  /** The adapter of Node, which Chromium should reach too. */
  readonly adapter: AdapterDescription;
  /** Sets of flags in the order in which they were tried; the last one is measured if it is ready. */
  readonly attempts: Attempt[];
  /** Whether all outputs were right, on both sides. */
  output_checked: boolean;
  /** Whether both wrote the same greedy text; undefined until both have. */
  same_text?: boolean;
  readonly node: Side;
  readonly chromium: Side;
  /** What went wrong on the side of Node. */
  failure?: string;
}

/** How the two are compared. */
export interface CompareOptions {
  readonly executable: string;
  readonly config: string;
  /** The page's script. */
  readonly script: string;
  /** Folder of the story model. */
  readonly stories: string;
  readonly measure: MeasureOptions;
  /** Names of flag sets; all that suit Node's adapter without. */
  readonly sets: readonly string[];
  /** Seconds that a browser may take to start and for each answer, and those for each of the two measurements. */
  readonly patience: { readonly startSeconds: number; readonly measureSeconds: number };
  readonly onStage: (stage: string) => void;
  /** Called with each attempt and each side's figures as soon as there are any, so that what ends early leaves what it has. */
  readonly onMeasured?: (figure: object) => void;
}

function outputsRight({ shape, stories }: Side): boolean {
  return (
    (shape?.output_checked ?? true) && (shape?.speculation?.output_checked ?? true) && (stories?.output_checked ?? true)
  );
}

/**
 * Tries sets of flags until a browser computes on the kind of adapter that Node has and measures to its end, taking turns with Node; else
 * measures Node alone.
 */
export async function compareChromium(options: CompareOptions): Promise<ChromiumResult> {
  const { executable, config, script, stories, measure, patience, onStage } = options;
  const { onMeasured = () => undefined } = options;
  const adapter = await describeAdapter();
  const result: ChromiumResult = {
    kind: 'chromium',
    config,
    adapter,
    attempts: [],
    output_checked: true,
    node: {},
    chromium: {},
  };
  onMeasured({ adapter });
  const { node, chromium } = result;
  const check = (): void => {
    result.output_checked = outputsRight(node) && outputsRight(chromium);
    if (node.stories && chromium.stories) {
      result.same_text = node.stories.text.join() === chromium.stories.text.join();
    }
  };
  const nodeStage = (stage: string): void => onStage(`node: ${stage}`);
  const onNode = async (part: keyof Side): Promise<void> => {
    if (node[part]) return;
    if (part === 'shape') node.shape = await measureShape(measure, nodeStage);
    else node.stories = await measureStories(stories, measure, nodeStage);
    onMeasured({ side: 'node', [part]: node[part] });
    check();
  };
  const inPage = async ({ page }: Opened, part: keyof Side): Promise<void> => {
    const parameters = JSON.stringify(measure);
    const call = part === 'shape' ? `shape(${parameters})` : `stories(location.origin + '/model/', ${parameters})`;
    const value = await page!.evaluate(`forerunPage.${call}`, patience.measureSeconds);
    Object.assign(chromium, { [part]: value });
    onMeasured({ side: 'chromium', [part]: value });
    check();
  };

  const page = await servePage(script, stories);
  try {
    for (const set of chosenSets(options.sets, adapter.kind)) {
      onStage(`chromium with ${set.name}`);
      const opened = await attempt(set, {
        executable,
        url: page.url,
        patienceSeconds: patience.startSeconds,
        onConsole: onStage,
      });
      const at = result.attempts.push(opened.attempt) - 1;
      onMeasured({ attempt: opened.attempt });
      if (!opened.browser) continue;
      let failure: string | undefined;
      try {
        // A browser of another kind of adapter than Node's says only that it starts.
        if (opened.attempt.adapter!.kind !== adapter.kind) break;
        for (const part of ['stories', 'shape'] as const) {
          await inPage(opened, part).catch((error: Error) => void (failure = `${part}: ${error.message}`));
          if (failure !== undefined) break;
          await onNode(part);
        }
        if (failure === undefined) break;
        result.attempts[at] = { ...opened.attempt, failure, said: opened.browser.said };
        onStage(`chromium failed: ${failure}`);
      } finally {
        await opened.browser.close();
      }
    }
    for (const part of ['stories', 'shape'] as const) await onNode(part);
  } catch (error) {
    result.failure = (error as Error).message;
  } finally {
    page.close();
  }
  return result;
}
