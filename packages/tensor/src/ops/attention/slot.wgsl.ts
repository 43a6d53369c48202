/** WGSL expression of the slot of a position: its own number, or its place in a ring. */
export const slotWgsl = (position: string, ring: number | undefined): string =>
  ring === undefined ? position : `(${position} % ${ring}u)`;
