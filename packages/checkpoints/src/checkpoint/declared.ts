import { memorySource } from '../sources/memory.ts';
import type { WeightPolicy } from '../weights/weights.ts';
import { Checkpoint } from './checkpoint.ts';

/**
 * A checkpoint that is a configuration and nothing else: a model takes its shapes from it, and every weight it asks for is declared. For
 * measuring a model's size and speed with weights that are made on the device.
 */
export function declaredCheckpoint(
  config: Readonly<Record<string, unknown>>,
  options: { readonly weights?: WeightPolicy } = {},
): Checkpoint {
  const files = new Map([['config.json', new TextEncoder().encode(JSON.stringify(config))]]);
  return new Checkpoint({
    source: memorySource(files),
    tensors: new Map(),
    files: [],
    metadata: new Map(),
    policy: options.weights ?? 'f32',
    declared: true,
  });
}
