import { SingleBar } from 'cli-progress';
import type { ModelLoadProgress } from '../load/load.ts';
import { printable } from './printable.ts';

const megabyte = 1e6;

const labels: Readonly<Record<ModelLoadProgress['part'], string>> = {
  model: 'Loading model',
  draft: 'Loading draft model',
  heads: 'Loading heads',
};

/** A progress bar on stderr while a model loads; nothing where stderr is no terminal. */
export class LoadProgressBar {
  readonly #bar: SingleBar | undefined;
  #part: ModelLoadProgress['part'] | undefined;
  #total = -1;

  constructor(enabled = process.stderr.isTTY === true) {
    this.#bar = enabled
      ? new SingleBar({
          format: '{label} [{bar}] {value}/{total} MB  {file}',
          barCompleteChar: '=',
          barIncompleteChar: ' ',
          hideCursor: true,
          clearOnComplete: true,
          stopOnComplete: false,
          stream: process.stderr,
          fps: 10,
        })
      : undefined;
  }

  /** For `load`'s `onProgress`. */
  readonly update = (progress: ModelLoadProgress): void => {
    const bar = this.#bar;
    if (!bar) return;
    const megabytes = (bytes: number) => Math.round((10 * bytes) / megabyte) / 10;
    const about = {
      label: labels[progress.part],
      file: printable(progress.files.current),
    };
    if (progress.part !== this.#part || progress.totalBytes !== this.#total) {
      bar.stop();
      [this.#part, this.#total] = [progress.part, progress.totalBytes];
      bar.start(megabytes(progress.totalBytes), megabytes(progress.loadedBytes), about);
    }
    bar.update(megabytes(progress.loadedBytes), about);
  };

  /** Removes the bar and gives the cursor back. */
  [Symbol.dispose](): void {
    this.#bar?.stop();
  }
}
