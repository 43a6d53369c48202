import type { ConfigFields } from '@forerun/checkpoints';

const layerTypes = ['full_attention', 'sliding_attention'] as const;

/**
 * The window of each layer where `layer_types` names full and sliding layers, or else layers from `max_window_layers` on slide:
 * the rule of Qwen 2 and 3. `sliding_window` counts only with `use_sliding_window`.
 *
 * @throws ModelConfigError when a layer is to slide and no window is given.
 */
export function windowsByLayer(fields: ConfigFields, layers: number): readonly (number | undefined)[] {
  const slides = fields.boolean('use_sliding_window', false);
  const window = slides && fields.has('sliding_window') ? fields.integer('sliding_window', { min: 1 }) : undefined;
  const from = fields.integer('max_window_layers', { min: 0 }, 28);
  if (!fields.has('layer_types')) {
    return Array.from({ length: layers }, (_, layer) => (layer >= from ? window : undefined));
  }
  return fields.words('layer_types', layers, layerTypes).map((type) => {
    if (type === 'full_attention') return undefined;
    if (window === undefined)
      throw fields.error('layer_types', 'only full_attention, or use_sliding_window with a sliding_window');
    return window;
  });
}

/**
 * The same window for all layers, 4096 where the file does not say, none where it says `null`: the rule of Mistral. `layer_types`, if
 * given, has to agree.
 */
export function oneWindow(fields: ConfigFields, layers: number): readonly (number | undefined)[] {
  const none = 'sliding_window' in fields.json && !fields.has('sliding_window');
  const window = none ? undefined : fields.integer('sliding_window', { min: 1 }, 4096);
  if (fields.has('layer_types')) {
    fields.words('layer_types', layers, [window === undefined ? 'full_attention' : 'sliding_attention']);
  }
  return Array.from({ length: layers }, () => window);
}

/**
 * Whether each layer has a convolution in place of attention: `layer_types` says so, or else all layers that `full_attn_idxs` does not
 * name; without either there is attention in all of them: the rule of LFM2.
 */
export function convolutionLayers(fields: ConfigFields, layers: number): readonly boolean[] {
  if (fields.has('layer_types')) {
    return fields.words('layer_types', layers, ['conv', 'full_attention']).map((type) => type === 'conv');
  }
  const attention = fields.integers('full_attn_idxs', { min: 0, max: layers - 1 });
  return Array.from({ length: layers }, (_, layer) => attention !== undefined && !attention.includes(layer));
}
