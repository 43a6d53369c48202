export { type ChromiumOptions, launchChromium } from './chromium.ts';
export { type DenoResult, runInDeno } from './deno.ts';
