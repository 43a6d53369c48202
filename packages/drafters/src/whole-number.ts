import { ArgumentError } from '@forerun/tensor';

/** Refuses an option that is not a whole number of at least `least`. */
export function expectWholeNumber(who: string, option: Readonly<Record<string, number>>, least = 1): void {
  for (const [name, value] of Object.entries(option)) {
    if (Number.isInteger(value) && value >= least) continue;
    throw new ArgumentError(`${who}: ${name} is a whole number of at least ${least}, got ${value}.`);
  }
}
