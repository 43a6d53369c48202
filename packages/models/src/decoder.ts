import type { Decoder, DecoderState, DecoderStateOptions, Rows } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Weights } from '@forerun/checkpoints';
import { type Layer, linear as linearLayer, type SequenceLayer } from '@forerun/layers';
import { ArgumentError, embedding, linear, type Tensor, type Weight } from '@forerun/tensor';
import type { DecoderConfig } from './config/decoder-config.ts';

/** What a decoder is made of, bottom to top. */
export interface DecoderParts<Memory extends DecoderState> {
  readonly config: DecoderConfig;
  /** Whether trees can be verified; true by default, false where a recurrent state is a part of the memory. */
  readonly branching?: boolean;
  /** `[V, D]`. */
  readonly embedTokens: Weight;
  /** Each takes the residual stream `[M, D]` and gives the next. */
  readonly blocks: readonly SequenceLayer<Memory>[];
  readonly norm: Layer;
  readonly lmHead: Layer;
  /** Makes what the blocks keep of one conversation. */
  readonly memory: (capacityTokens: number, options: DecoderStateOptions) => Memory;
}

/**
 * A decoder as a stack: embedding, blocks over one residual stream, norm, head. Rows are tokens (u32) or, where a part of the stack or
 * another modality goes in, embeddings (f32).
 */
export function decoderStack<Memory extends DecoderState>(parts: DecoderParts<Memory>): Decoder {
  const { config, branching = true, embedTokens, blocks, norm, lmHead } = parts;
  const own = new WeakSet<DecoderState>();
  const embed = (tokens: Tensor): Tensor => embedding(embedTokens, tokens);

  return {
    vocabSize: config.vocabSize,
    hiddenSize: config.hiddenSize,
    layerCount: blocks.length,
    maxPositions: config.maxPositionEmbeddings,
    branching,
    state(capacityTokens, options) {
      const memory = parts.memory(capacityTokens, options);
      own.add(memory);
      return memory;
    },
    embed,
    forward(rows, state, { layers: [from, to] = [0, blocks.length], taps = [] } = {}) {
      if (!own.has(state)) {
        throw new MismatchedPartsError(
          `forward: expected a state that this ${config.modelType} decoder's state() made, got another's. Each decoder keeps its own.`,
        );
      }
      if (rows.path && !branching) {
        throw new MismatchedPartsError(
          `forward: this ${config.modelType} decoder keeps a recurrent state and verifies chains only, got the rows of a tree. Use a drafter that proposes chains, such as n-gram or a draft model.`,
        );
      }
      if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to < from || to > blocks.length) {
        throw new ArgumentError(
          `forward: expected layers from ..< to within 0 and ${blocks.length}, got [${from}, ${to}].`,
        );
      }
      const absent = taps.find((tap) => !Number.isInteger(tap) || tap < from || tap > to);
      if (absent !== undefined) {
        throw new ArgumentError(`forward: expected taps from ${from} to ${to}, the layers that run, got ${absent}.`);
      }
      let hidden = startOf(rows, embed);
      const streams = new Map([[from, hidden]]);
      for (let layer = from; layer < to; layer++) {
        hidden = blocks[layer]!(hidden, rows, state as Memory);
        streams.set(layer + 1, hidden);
      }
      return { hidden, taps: taps.map((tap) => streams.get(tap)!) };
    },
    norm,
    head: lmHead,
  };
}

function startOf({ inputs }: Rows, embed: (tokens: Tensor) => Tensor): Tensor {
  return inputs.dtype === 'u32' ? embed(inputs) : inputs;
}

/**
 * Logits from `lm_head` `[V, D]`, or from the tied embedding. A checkpoint that calls its head tied and still stores one is believed
 * about what it stores, as transformers does.
 */
export function outputHead(
  w: Weights,
  shape: readonly [vocab: number, hidden: number],
  tied: Weight | undefined,
): Layer {
  if (tied && !w.has('lm_head')) return (x) => linear(x, tied);
  return linearLayer(w.at('lm_head'), shape);
}
