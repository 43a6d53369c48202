export { type ChromiumOptions, chromiumExecutable, launchChromium, newPage } from './chromium.ts';
export { type DenoResult, runInDeno } from './deno.ts';
