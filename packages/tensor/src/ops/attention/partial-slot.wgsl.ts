/** Uniforms that say where partials lie; see `SplitPlan`. */
export const partialUniforms = { headBlocks: 'u32', headSlots: 'u32', tailSlots: 'u32' } as const;

/**
 * WGSL of the numbering of partials: `partialOfBlock(block)`, `firstBlockOf(partial)`, and `partialSlot(partial)`, the place among those of a row. The first
 * `u.headBlocks` partials are blocks, the others spans.
 */
export const partialSlotWgsl = (spanBlocks: number): string => /* wgsl */ `
fn partialOfBlock(block: u32) -> u32 {
  return min(block, u.headBlocks) + (max(block, u.headBlocks) - u.headBlocks) / ${spanBlocks}u;
}
fn firstBlockOf(partial_: u32) -> u32 {
  return min(partial_, u.headBlocks) + (max(partial_, u.headBlocks) - u.headBlocks) * ${spanBlocks}u;
}
fn partialSlot(partial_: u32) -> u32 {
  if (partial_ < u.headBlocks) { return partial_ % u.headSlots; }
  return u.headSlots + (partial_ - u.headBlocks) % u.tailSlots;
}`;
