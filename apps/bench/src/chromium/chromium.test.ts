/** Chromium beside Node, both on a software adapter, on a model small enough for it. */
import { chromiumExecutable } from '@forerun/tooling';
import { stories } from '@forerun/tiny';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { compareChromium } from './compare-chromium.ts';
import { chosenSets, environmentOf, flagSets, UnknownFlagSetError } from './flag-sets.ts';
import { pageScript } from './page-script.ts';

const small = {
  model_type: 'llama',
  hidden_size: 64,
  intermediate_size: 96,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  num_hidden_layers: 1,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  vocab_size: 160,
  tie_word_embeddings: false,
};
const options = {
  config: 'small',
  stories: fileURLToPath(stories.url),
  measure: { json: small, context: 24, tokens: 6, pairs: 1, acceptance: 0.8, widths: [1, 4], readbacks: 2 },
  patience: { startSeconds: 240, measureSeconds: 280 },
  onStage: () => undefined,
};

describe('compareChromium', () => {
  it('measures the same on both sides, and says what stopped flags that did not get there', async () => {
    const noted: object[] = [];
    const result = await compareChromium({
      ...options,
      executable: (await chromiumExecutable()) ?? '',
      script: await pageScript(),
      sets: ['default', 'software'],
      onMeasured: (figure) => void noted.push(figure),
    });
    expect(result.failure).toBeUndefined();
    const [missed, ready] = result.attempts;
    expect(missed).toMatchObject({ flags: 'default', outcome: expect.stringMatching(/other-adapter|no-device/) });
    expect(missed!.why).toBeTruthy();
    expect(missed!.gpu).toHaveProperty('featureStatus');
    expect(ready).toMatchObject({ flags: 'software', outcome: 'ready', adapter: { kind: 'software' } });
    expect(ready!.browser).toMatch(/Chrome/);
    for (const { shape, stories: story } of [result.node, result.chromium]) {
      expect(shape!.output_checked).toBe(true);
      expect(shape!.speculation!.output_checked).toBe(true);
      expect(shape!.speculation!.replay!.best).toHaveLength(1);
      expect(shape!.encode_us_per_dispatch).toBeGreaterThan(0);
      expect(story!.output_checked).toBe(true);
      expect(story!.text).toHaveLength(6);
      expect(story!.readback.median_ms).toBeGreaterThan(0);
      expect(story!.replay.points[0]).toMatchObject({ acceptance: 0.8, width: 4, output_equal: true });
    }
    expect(result).toMatchObject({ output_checked: true, same_text: true });
    expect(noted).toHaveLength(7);
  });

  it('measures Node alone where no browser starts, and says why', async () => {
    const result = await compareChromium({
      ...options,
      executable: '/nowhere/chromium',
      script: '',
      sets: ['software'],
    });
    expect(result.attempts).toMatchObject([{ outcome: 'not-started', why: expect.stringContaining('ENOENT') }]);
    expect(result.chromium).toEqual({});
    expect(result.node.stories!.output_checked).toBe(true);
  });
});

describe('sets of flags', () => {
  it('are those for the kind of adapter, the software one last, or those that are named', () => {
    expect(chosenSets([], 'software').map(({ name }) => name)).toEqual(['software']);
    expect(chosenSets([], 'hardware').at(-1)!.name).toBe('software');
    expect(new Set(flagSets.map(({ name }) => name)).size).toBe(flagSets.length);
    expect(() => chosenSets(['nothing'], 'hardware')).toThrow(UnknownFlagSetError);
  });

  it('leave the choice of a driver to the machine, and to Chromium for its own', () => {
    const environment = { PATH: '/bin', VK_DRIVER_FILES: '/driver.json' };
    const [hardware, software] = [flagSets[0]!, flagSets.at(-1)!];
    expect(environmentOf(hardware, environment)).toMatchObject(environment);
    expect(environmentOf(software, environment)).toEqual({ PATH: '/bin' });
  });
});
