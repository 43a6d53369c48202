export { type ChromiumOptions, launchChromium, newPage } from './chromium.ts';
export { type DenoResult, runInDeno } from './deno.ts';
