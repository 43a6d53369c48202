import { describe, expect, it } from 'vitest';
import { StopStrings } from './stop-strings.ts';

function feed(stops: readonly string[], pieces: readonly string[]) {
  const filter = new StopStrings(stops);
  const shown: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = filter.push(piece);
    shown.push(text);
    if (stopped) return { shown, stopped };
  }
  return { shown: [...shown, filter.flush()], stopped: false };
}

describe('StopStrings', () => {
  it('passes text on where nothing stops', () => {
    expect(feed([], ['ab', 'cd'])).toEqual({ shown: ['ab', 'cd', ''], stopped: false });
  });
  it('holds back what may begin a stop string, and gives it when it does not', () => {
    expect(feed(['END'], ['a E', 'N', 'x'])).toEqual({ shown: ['a ', '', 'ENx', ''], stopped: false });
  });
  it('cuts at a stop string across pieces', () => {
    expect(feed(['END'], ['a E', 'ND b'])).toEqual({ shown: ['a ', ''], stopped: true });
  });
  it('cuts at the first of several', () => {
    expect(feed(['two', 'one'], ['zero one two'])).toEqual({ shown: ['zero '], stopped: true });
  });
  it('gives a held-back beginning at the end of the text', () => {
    expect(feed(['###'], ['x##'])).toEqual({ shown: ['x', '##'], stopped: false });
  });
});
