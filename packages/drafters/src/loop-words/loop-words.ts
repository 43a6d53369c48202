import { loopStateWords, loopWords } from '@forerun/contracts';
import { uniform } from '@forerun/tensor';

/** Binding of the loop state, read-only: uniform, so that control flow on it stays uniform. */
export const loopBinding = uniform(`array<vec4<u32>, ${loopStateWords / 4}>`);

/** WGSL expression of a loop word through a binding `loopState`. */
export function loopWord(name: keyof typeof loopWords): string {
  const word = loopWords[name];
  return `loopState[${word >> 2}].${'xyzw'[word % 4]}`;
}
