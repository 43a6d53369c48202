import { greedySettings } from '@forerun/decoding';
import { ArgumentError } from '@forerun/tensor';

/**
 * Refuses options that nobody would read, such as a misspelt one.
 *
 * @param what - The function that they were given to.
 * @throws {@link ArgumentError} naming them, and those that there are.
 */
export function expectKnown(what: string, options: object, known: Readonly<Record<string, true>>): void {
  const unknown = Object.keys(options).filter((name) => !Object.hasOwn(known, name));
  if (unknown.length === 0) return;
  const moved = unknown.filter((name) => name in greedySettings);
  const advice = moved.length > 0 ? ` Did you mean ${moved.map((name) => `sampling.${name}`).join(', ')}?` : '';
  throw new ArgumentError(
    `${what}: expected options among ${Object.keys(known).join(', ')}; got ${unknown.join(', ')}.${advice}`,
  );
}
