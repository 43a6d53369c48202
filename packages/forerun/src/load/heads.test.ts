import { MismatchedPartsError } from '@forerun/contracts';
import { HeadConfigError } from '@forerun/mtp';
import { ArgumentError } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { stories, storiesDraft, storiesMedusa } from '@forerun/tiny';
import { describe, expect, it } from 'vitest';
import { DrafterChoices } from '../model/drafter-choice.ts';
import { load } from './load.ts';

const device = await testDevice();
const capacityTokens = 64;

describe('load with heads', () => {
  it('refuses files that are no heads, and says what a draft model is loaded with', async () => {
    const loading = load(stories, { heads: [storiesDraft], device, capacityTokens });
    await expect(loading).rejects.toThrow(HeadConfigError);
    await expect(loading).rejects.toThrow(/stories-draft.*holds no heads.*option "draft"/);
  });

  it('refuses heads of another model with both numbers', async () => {
    const loading = load(storiesDraft, { heads: [storiesMedusa], device, capacityTokens });
    await expect(loading).rejects.toThrow(MismatchedPartsError);
    await expect(loading).rejects.toThrow(/256.*128/);
  });

  it('refuses two heads of a kind', async () => {
    const loading = load(stories, { heads: [storiesMedusa, storiesMedusa], device, capacityTokens });
    await expect(loading).rejects.toThrow(ArgumentError);
    await expect(loading).rejects.toThrow(/two of the kind "medusa"/);
  });
});

describe('the drafter that is used when none is named', () => {
  const drafter = { name: 'some' } as never;
  const decoder = { layerCount: 8, branching: true, vocabSize: 32 } as const;
  const heads = new Map([['eagle', drafter]] as const);
  const ownHeads = new Map([['mtp', drafter]] as const);

  it.each([
    [{ draftModel: drafter, heads, ownHeads }, 'eagle'],
    [{ draftModel: drafter, ownHeads }, 'draft-model'],
    [{ draftModel: undefined, ownHeads }, 'mtp'],
    [{ draftModel: undefined }, 'n-gram'],
  ])('case %#: %s', (parts, expected) => {
    const choices = new DrafterChoices({ decoder, ...parts });
    expect(choices.default).toBe(expected);
    expect(choices.names).toContain(expected);
  });

  it('heads that are not there are refused by name', () => {
    const choices = new DrafterChoices({ decoder, draftModel: undefined });
    expect(() => choices.resolve('medusa')).toThrow(MismatchedPartsError);
    expect(() => choices.resolve('medusa')).toThrow(/option "heads".*none, n-gram, .*early-exit/);
  });
});
