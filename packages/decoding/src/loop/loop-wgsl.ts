import { loopStateWords, loopWords } from '@forerun/contracts';
import { uniform } from '@forerun/tensor';

/** Binding of the loop state where a kernel only reads it: uniform, so that control flow on it stays uniform. */
export const loopUniform = uniform(`array<vec4<u32>, ${loopStateWords / 4}>`);

/** WGSL expression of a loop word through the binding `words` declared with {@link loopUniform}. */
export function loopWord(name: keyof typeof loopWords): string {
  const word = loopWords[name];
  return `words[${word >> 2}].${'xyzw'[word % 4]}`;
}
