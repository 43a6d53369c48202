import type { WeightPolicy } from '@forerun/checkpoints';
import { declaredCheckpoint } from '@forerun/checkpoints';
import { Engine } from '@forerun/decoding';
import type { DecoderConfig } from '@forerun/models';
import { loadModel } from '@forerun/models';
import type { Arithmetic, Device } from '@forerun/tensor';
import { fillRandom, WeightStore } from '@forerun/tensor';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';

/** An engine whose weights were made on the device. */
export interface RandomEngine {
  readonly engine: Engine;
  readonly store: WeightStore;
  readonly config: DecoderConfig;
  /** From the configuration to the first possible step, in ms. */
  readonly readyMs: number;
}

/** How it is made. */
export interface RandomEngineOptions {
  readonly device: Device;
  readonly weights: WeightPolicy;
  readonly capacityTokens: number;
  readonly seed: number;
  readonly cache?: 'f32' | 'f16' | undefined;
  readonly arithmetic?: Arithmetic | undefined;
  /** Sizes of prefill passes; measured on the device without. */
  readonly chunkTokens?: readonly number[] | undefined;
}

/** A model of any supported configuration with random weights: nothing is read, and host memory stays flat. */
export async function randomEngine(
  json: Readonly<Record<string, unknown>>,
  options: RandomEngineOptions,
): Promise<RandomEngine> {
  const { device, weights, capacityTokens, seed, cache, arithmetic, chunkTokens } = options;
  const start = performance.now();
  const model = await loadModel(declaredCheckpoint(json, { weights }));
  const store = new WeightStore(device);
  try {
    const engine = await Engine.create({
      device,
      decoder: model.decoder,
      verifier: sampleAndMatch(),
      noise: philoxNoise,
      capacityTokens: Math.min(capacityTokens, model.decoder.maxPositions),
      ...(cache ? { cache } : {}),
      ...(arithmetic ? { arithmetic } : {}),
      ...(chunkTokens ? { chunkTokens } : {}),
      weights: { store, fill: () => fillRandom(store, { seed }) },
    });
    await device.idle();
    return { engine, store, config: model.config, readyMs: performance.now() - start };
  } catch (error) {
    store.destroy();
    throw error;
  }
}
