export { median } from './median.ts';
export { presets } from './presets.ts';
