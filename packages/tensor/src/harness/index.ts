export type { Held, HeldInput, HeldResult } from './hold.ts';
export { hold, MismatchError, relativeError } from './hold.ts';
export type { RandomSource } from './random.ts';
export { randomSource } from './random.ts';
export { testDevice } from './test-device.ts';
