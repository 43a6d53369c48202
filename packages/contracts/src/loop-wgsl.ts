import type { Binding } from '@forerun/tensor';
import { loopStateWords, loopWords } from './round.ts';

/** Binding of the loop state for a kernel that only reads it: uniform, so that control flow on it stays uniform. Call it `loopState`. */
export const loopBinding: Binding = { access: 'uniform', type: `array<vec4<u32>, ${loopStateWords / 4}>` };

/** WGSL expression of a loop word, u32, in a kernel that binds {@link loopBinding} as `loopState`. */
export function loopWord(name: keyof typeof loopWords): string {
  const word = loopWords[name];
  return `loopState[${word >> 2}].${'xyzw'[word % 4]}`;
}
