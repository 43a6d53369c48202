import type { ChoiceStore } from '../compile/choices.ts';

/** Local storage, where a page has it: workers and private windows have none, and measure at each load. */
export const choiceStore: ChoiceStore = {
  read: async (key) => {
    try {
      return globalThis.localStorage?.getItem(`forerun ${key}`) ?? undefined;
    } catch {
      return undefined;
    }
  },
  write: async (key, text) => {
    try {
      globalThis.localStorage?.setItem(`forerun ${key}`, text);
    } catch {
      // Full or forbidden: the next load measures again.
    }
  },
};
