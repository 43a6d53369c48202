import { AbortedError } from '@forerun/tensor';

const aborted = (signal: AbortSignal) =>
  new AbortedError('Generation was aborted. The conversation keeps what was given so far and can go on.', {
    cause: signal.reason,
  });

/** @throws {@link AbortedError} when the signal was aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}

/** What a promise gives, or an {@link AbortedError} as soon as the signal is aborted; the promise is then left to itself. */
export function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(aborted(signal));
    const settle =
      <Outcome>(done: (outcome: Outcome) => void) =>
      (outcome: Outcome) => {
        signal.removeEventListener('abort', abort);
        done(outcome);
      };
    signal.addEventListener('abort', abort, { once: true });
    promise.then(settle(resolve), settle(reject));
    if (signal.aborted) abort();
  });
}
