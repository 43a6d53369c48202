/** Puts what is measured where DevTools can call it. Stages go to the console, which is written beside the result. */
import { describeAdapter, measureShape, measureStories, type MeasureOptions } from './measure.ts';

const onStage = (stage: string): void => console.log(`chromium: ${stage}`);

const page = {
  describe: describeAdapter,
  shape: (options: MeasureOptions) => measureShape(options, onStage),
  stories: (source: string, options: MeasureOptions) => measureStories(source, options, onStage),
};

/** What the page offers. */
export type BenchPage = typeof page;

Object.assign(globalThis, { forerunPage: page });
