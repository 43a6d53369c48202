/** Starts a browser with one set of flags and says what became of it. */
import type { AdapterDescription } from '@forerun/tensor';
import type { FlagSet } from './flag-sets.ts';
import { environmentOf } from './flag-sets.ts';
import { Browser, type BrowserPage } from './browser.ts';

/** How it went with one set of flags. */
export interface Attempt {
  readonly flags: string;
  readonly switches: readonly string[];
  /**
   * `ready`: an adapter of the kind that was asked for; `other-adapter`: one of the other kind; `no-device`: a page that got none (of no
   * `navigator.gpu`, of no adapter); `not-started`: the browser ended, or did not answer.
   */
  readonly outcome: 'ready' | 'other-adapter' | 'no-device' | 'not-started';
  readonly adapter?: AdapterDescription;
  /** What was missing, in words. */
  readonly why?: string;
  /** Why measuring ended early in a browser that was ready. */
  readonly failure?: string;
  readonly browser?: string;
  /** What chrome://gpu would show: devices, drivers, what is accelerated. */
  readonly gpu?: unknown;
  /** The end of what the browser wrote to its outputs. */
  readonly said?: string;
}

/** An attempt, with its browser and page where they are ready. */
export interface Opened {
  readonly attempt: Attempt;
  readonly browser?: Browser;
  readonly page?: BrowserPage;
}

/** What the browser knows of its GPU process, without the long list of extensions. */
async function gpuOf(browser: Browser): Promise<unknown> {
  const info = (await browser.send('SystemInfo.getInfo').catch((error: Error) => ({ failure: error.message }))) as {
    gpu?: { devices: unknown; auxAttributes?: Record<string, unknown>; featureStatus?: unknown };
  };
  if (!info.gpu) return info;
  const { devices, auxAttributes = {}, featureStatus } = info.gpu;
  const told = ['displayType', 'glRenderer', 'glVendor', 'glVersion', 'vulkanVersion', 'sandboxed', 'inProcessGpu'];
  const attributes = Object.fromEntries(
    told.flatMap((name) => (name in auxAttributes ? [[name, auxAttributes[name]]] : [])),
  );
  return { devices, attributes, featureStatus };
}

/** Starts the browser, opens the page and asks it for a device. What is not `ready` is closed again. */
export async function attempt(
  set: FlagSet,
  options: { executable: string; url: string; patienceSeconds: number; onConsole: (line: string) => void },
): Promise<Opened> {
  const { url, ...others } = options;
  const browser = new Browser({ ...others, flags: set.flags, env: environmentOf(set, process.env) });
  const facts = { flags: set.name, switches: set.flags };
  const failed = async (outcome: Attempt['outcome'], found: Partial<Attempt>): Promise<Opened> => {
    const gpu = outcome === 'not-started' ? {} : { gpu: await gpuOf(browser) };
    await browser.close();
    return { attempt: { ...facts, ...found, ...gpu, outcome, said: browser.said } };
  };
  let page: BrowserPage;
  let product: string;
  try {
    product = String((await browser.send('Browser.getVersion'))['product']);
    page = await browser.open(url, `'forerunPage' in globalThis`);
  } catch (error) {
    return failed('not-started', { why: (error as Error).message });
  }
  try {
    const adapter = (await page.evaluate('forerunPage.describe()')) as AdapterDescription;
    const found = { browser: product, adapter };
    if (adapter.kind !== set.kind) {
      return await failed('other-adapter', { ...found, why: `asked for ${set.kind}, got ${adapter.kind}` });
    }
    return { attempt: { ...facts, ...found, outcome: 'ready', gpu: await gpuOf(browser) }, browser, page };
  } catch (error) {
    return failed('no-device', { browser: product, why: (error as Error).message });
  }
}
