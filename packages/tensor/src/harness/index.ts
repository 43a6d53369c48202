export type { Held, HeldInput, HeldResult } from './hold.ts';
export { hold, MismatchError, relativeError } from './hold.ts';
export type { RandomSource } from './random.ts';
export { randomSource } from './random.ts';
export { testDevice } from './test-device.ts';
export { uploadFloats } from './upload.ts';
export type { HeldRows } from './width-invariance.ts';
export { holdRowsInvariant, invariantWidths } from './width-invariance.ts';
