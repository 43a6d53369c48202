import { describe, expect, it } from 'vitest';
import { firstSettings, readSettings, writeSettings } from './settings.ts';

function storageOf(text: string | null) {
  return { getItem: () => text };
}

describe('settings', () => {
  it('come back as they were written', () => {
    const settings = {
      ...firstSettings,
      prompt: 'A "dog"\n',
      temperature: 1.5,
      drafter: 'none',
      width: 'auto',
      showRejected: false,
    } as const;
    let stored = '';
    writeSettings({ setItem: (_, value) => void (stored = value) }, settings);
    expect(readSettings(storageOf(stored))).toEqual(settings);
  });

  for (const damaged of [
    null,
    '',
    'no JSON',
    '7',
    '[]',
    '{"prompt": 5, "temperature": "hot", "drafter": 7, "width": 4}',
  ]) {
    it(`are those of a first visit where storage has ${damaged}`, () =>
      expect(readSettings(storageOf(damaged))).toEqual(firstSettings));
  }

  it('survive storage that refuses', () => {
    const refuse = (): never => {
      throw new Error('denied');
    };
    expect(readSettings({ getItem: refuse })).toEqual(firstSettings);
    expect(() => writeSettings({ setItem: refuse }, firstSettings)).not.toThrow();
  });
});
