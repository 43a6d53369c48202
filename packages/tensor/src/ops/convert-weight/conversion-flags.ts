/** Bits that converting a weight may leave in its flag. */
export const conversionFlags = { notFinite: 1, tooLarge: 2 } as const;
