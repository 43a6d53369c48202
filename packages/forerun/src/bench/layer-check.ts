/**
 * Holds everything in a layer that is no matrix to float64: a decoder with the heads, rope, norms and activation of the one that is timed,
 * one narrow layer and a small vocabulary, on the device and through the references.
 */
import { declaredCheckpoint } from '@forerun/checkpoints';
import type { Rows } from '@forerun/contracts';
import type { DecoderConfig } from '@forerun/models';
import { loadModel } from '@forerun/models';
import type { Arithmetic, Device, Weight } from '@forerun/tensor';
import { hold, MismatchError, randomSource, uploadFloats } from '@forerun/tensor/harness';

/** What was held, at how many rows. */
export interface LayerCheck {
  readonly rows: number;
  /** Tokens in the cache before them. */
  readonly context: number;
  /** Largest relative error that was allowed, of logits and cache. */
  readonly tolerance: number;
  /** What is off; undefined when nothing is. */
  readonly problem: string | undefined;
}

/** Model types whose layers stay what they are when they are made narrower. */
const narrowable = ['llama', 'mistral', 'qwen2', 'qwen3'];
const [hiddenSize, vocabSize] = [128, 96];
const tolerances: Readonly<Record<Arithmetic, number>> = { f32: 2e-5, f16: 5e-3, i8: 5e-2 };

/** The same layer, narrow and alone; undefined where its type has more to it than a width. */
export function narrowConfig(
  json: Readonly<Record<string, unknown>>,
  { headDim, maxPositionEmbeddings }: Pick<DecoderConfig, 'headDim' | 'maxPositionEmbeddings'>,
): Readonly<Record<string, unknown>> | undefined {
  if (!narrowable.includes(String(json['model_type']))) return undefined;
  const { layer_types: _, max_window_layers: __, use_sliding_window: ___, ...rest } = json;
  return {
    ...rest,
    head_dim: headDim,
    hidden_size: hiddenSize,
    intermediate_size: hiddenSize,
    num_hidden_layers: 1,
    vocab_size: vocabSize,
    max_position_embeddings: maxPositionEmbeddings,
    bos_token_id: 0,
    eos_token_id: 1,
    pad_token_id: null,
  };
}

function randomWeights(weights: readonly Weight[]): ReadonlyMap<Weight, Float32Array> {
  const random = randomSource(5);
  return new Map(
    weights.map((weight) => {
      const vector = weight.shape.length === 1;
      const scale = vector ? 0.1 : 1 / Math.sqrt(weight.width);
      const values = Float32Array.from(
        { length: weight.rows * weight.width },
        () => (vector ? 1 : 0) + scale * random.normal(),
      );
      return [weight, values];
    }),
  );
}

/** Checks a layer at each number of rows, behind a cache of random keys and values. */
export async function checkLayer(
  device: Device,
  json: Readonly<Record<string, unknown>>,
  options: {
    readonly config: DecoderConfig;
    readonly rows: readonly number[];
    readonly context: number;
    readonly arithmetic: Arithmetic;
  },
): Promise<LayerCheck[]> {
  const { config, context, arithmetic } = options;
  const narrow = narrowConfig(json, config);
  if (!narrow) return [];
  const { decoder, weights } = await loadModel(declaredCheckpoint(narrow, { weights: 'f32' }));
  const values = randomWeights(weights);
  const tolerance = tolerances[arithmetic];
  const checks: LayerCheck[] = [];
  for (const M of options.rows) {
    const state = decoder.state(context + M, { rollbackTokens: 0 });
    const random = randomSource(9);
    const cached = state.states.map((one) => {
      const elements = one.shape.reduce((product, size) => product * size, 1);
      return [one, Float32Array.from({ length: elements }, () => random.normal())] as const;
    });
    let problem: string | undefined;
    try {
      await hold(device, {
        inputs: {
          tokens: { shape: [M], dtype: 'u32', data: Array.from({ length: M }, (_, row) => (row * 31 + 7) % vocabSize) },
        },
        states: new Map(cached),
        weights: values,
        upload: uploadFloats(values),
        tolerance,
        arithmetic,
        bound: context + M,
        body: ({ tokens }, graph) => {
          const positions = graph.constant(Uint32Array.from({ length: M }, (_, row) => context + row));
          const rows: Rows = {
            inputs: tokens,
            positions,
            depths: positions,
            slots: positions,
            spans: positions.add(1),
            count: graph.constant(Uint32Array.of(M)),
            length: graph.constant(Uint32Array.of(context)),
          };
          return { logits: decoder.head(decoder.norm(decoder.forward(rows, state).hidden)) };
        },
      });
    } catch (error) {
      if (!(error instanceof MismatchError)) throw error;
      problem = error.message;
    }
    checks.push({ rows: M, context, tolerance, problem });
  }
  return checks;
}
