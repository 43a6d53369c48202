/** Turns the first interrupt into an abort, so that what runs can end cleanly; the second one ends the process at once. */
export class Interrupt {
  readonly #controller = new AbortController();
  readonly #onSignal = (): void => {
    if (this.#controller.signal.aborted) process.exit(interruptedExitCode);
    this.#controller.abort(new Error('Interrupted.'));
  };

  constructor() {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Gives the signals back to Node. */
  [Symbol.dispose](): void {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, this.#onSignal);
  }
}

/** What a shell expects of a process that was interrupted: 128 + SIGINT. */
export const interruptedExitCode = 130;
