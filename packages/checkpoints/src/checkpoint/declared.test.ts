import { describe, expect, it } from 'vitest';
import { declaredCheckpoint } from './declared.ts';

describe('declaredCheckpoint', () => {
  it('declares whatever a model asks for, in the format asked for', async () => {
    const checkpoint = declaredCheckpoint({ model_type: 'llama' }, { weights: 'q4' });
    const w = checkpoint.weights();
    const matrix = w.at('model').at('q_proj').tensor('weight', [64, 32]);
    const vector = w.at('model').at('norm').tensor('weight', [32]);
    expect([matrix.format, vector.format]).toEqual(['q4', 'f32']);
    expect(w.finish()).toEqual([matrix, vector]);
    expect(await checkpoint.config()).toEqual({ model_type: 'llama' });
    expect(w.has('lm_head')).toBe(false);
  });
});
