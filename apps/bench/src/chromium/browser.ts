/** A Chromium that is driven over two pipes by the DevTools protocol, which needs no other package. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';

/** The browser ended, did not answer in time, or a script in its page threw. */
export class BrowserError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'BrowserError';
  }
}

/** How it is started. */
export interface BrowserOptions {
  /** What is started; it may be a script that starts Chromium. */
  readonly executable: string;
  readonly flags: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** For starting and for each answer whose caller names no other time. */
  readonly patienceSeconds: number;
  /** Called with each line that a page writes to its console. */
  readonly onConsole?: (line: string) => void;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

interface Waiting {
  readonly resolve: (result: Record<string, unknown>) => void;
  readonly reject: (error: Error) => void;
}

/** What headless Chromium needs to run here whatever its GPU is. */
const always = [
  '--headless',
  '--no-sandbox',
  '--no-first-run',
  '--disable-dev-shm-usage',
  '--remote-debugging-pipe',
  // Pipelines of a model may take longer to compile than a watchdog waits; a page that nobody sees is not to be slowed down.
  '--disable-gpu-watchdog',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--enable-logging=stderr',
  // Times of passes in whole nanoseconds, and names of adapters.
  '--enable-unsafe-webgpu',
  '--enable-webgpu-developer-features',
];

/** Characters of what the browser said that are kept. */
const keptCharacters = 6000;

/** A running browser. Close it: nothing else ends it but the end of this process. */
export class Browser {
  readonly #child: ChildProcess;
  readonly #profile = mkdtempSync(join(tmpdir(), 'forerun-chromium-'));
  readonly #waiting = new Map<number, Waiting>();
  readonly #onConsole: (line: string) => void;
  readonly #patienceSeconds: number;
  #next = 1;
  #said = '';
  #ended: string | undefined;

  constructor({ executable, flags, env, patienceSeconds, onConsole = () => undefined }: BrowserOptions) {
    this.#patienceSeconds = patienceSeconds;
    this.#onConsole = onConsole;
    const args = [...always, `--user-data-dir=${this.#profile}`, ...flags, 'about:blank'];
    this.#child = spawn(executable, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'] });
    const keep = (text: Buffer): void => void (this.#said = (this.#said + text.toString()).slice(-keptCharacters));
    this.#child.stdout!.on('data', keep);
    this.#child.stderr!.on('data', keep);
    this.#child.on('error', (error) => this.#end(`${executable} could not be started: ${error.message}`));
    this.#child.on('exit', (code, signal) => this.#end(`the browser ended with ${signal ?? `code ${code}`}`));
    let text = '';
    const [, , , toBrowser, fromBrowser] = this.#child.stdio as unknown as Duplex[];
    toBrowser!.on('error', () => undefined);
    fromBrowser!.setEncoding('utf8').on('data', (piece: string) => {
      const messages = (text + piece).split('\0');
      text = messages.pop()!;
      for (const message of messages) this.#receive(JSON.parse(message) as Message);
    });
  }

  /** The end of what it wrote to its outputs: the GPU process says there what it lacks. */
  get said(): string {
    return this.#said;
  }

  /** Sends a command; `sessionId` is that of a page. @throws {@link BrowserError}. */
  async send(
    method: string,
    params: Record<string, unknown> = {},
    { sessionId, seconds = this.#patienceSeconds }: { sessionId?: string; seconds?: number | undefined } = {},
  ): Promise<Record<string, unknown>> {
    if (this.#ended !== undefined) throw new BrowserError(this.#ended);
    const id = this.#next++;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        timer = setTimeout(
          () => reject(new BrowserError(`${method} was not answered in ${seconds} s`)),
          seconds * 1000,
        );
        const [, , , toBrowser] = this.#child.stdio as unknown as Duplex[];
        toBrowser!.write(`${JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) })}\0`);
      });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** Opens a page and waits until `ready`, an expression in it, is true. @throws {@link BrowserError}. */
  async open(url: string, ready: string): Promise<BrowserPage> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new BrowserPage(this, sessionId as string);
    await this.send('Runtime.enable', {}, { sessionId: sessionId as string });
    const { errorText } = await this.send('Page.navigate', { url }, { sessionId: sessionId as string });
    if (errorText !== undefined) throw new BrowserError(`${url}: ${String(errorText)}`);
    for (const end = Date.now() + this.#patienceSeconds * 1000; Date.now() < end;) {
      if ((await page.evaluate(ready).catch(() => false)) === true) return page;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new BrowserError(`${url} was not ready in ${this.#patienceSeconds} s`);
  }

  /** Ends the browser with all of its processes, and forgets its profile. */
  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('close', resolve));
    if (this.#ended === undefined) {
      await this.send('Browser.close', {}, { seconds: 5 }).catch(() => this.#child.kill('SIGKILL'));
      // A browser that hangs with its driver is not waited for.
      await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 5000).unref())]);
      this.#child.kill('SIGKILL');
    }
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #receive({ id, method, params, result, error }: Message): void {
    if (id !== undefined) {
      const waiting = this.#waiting.get(id);
      if (error) waiting?.reject(new BrowserError(error.message));
      else waiting?.resolve(result ?? {});
    } else if (method === 'Runtime.consoleAPICalled') {
      const values = params!['args'] as readonly { value?: unknown; description?: string }[];
      this.#onConsole(values.map(({ value, description }) => String(value ?? description)).join(' '));
    }
  }

  #end(why: string): void {
    this.#ended ??= why;
    for (const { reject } of this.#waiting.values()) reject(new BrowserError(this.#ended));
  }
}

/** A page of a {@link Browser}. */
export class BrowserPage {
  readonly #browser: Browser;
  readonly #sessionId: string;

  constructor(browser: Browser, sessionId: string) {
    this.#browser = browser;
    this.#sessionId = sessionId;
  }

  /** Value of an expression in the page, or what its promise resolves to. @throws {@link BrowserError} when it throws. */
  async evaluate(expression: string, seconds?: number): Promise<unknown> {
    const answer = await this.#browser.send(
      'Runtime.evaluate',
      { expression, awaitPromise: true, returnByValue: true },
      { sessionId: this.#sessionId, seconds },
    );
    const { result, exceptionDetails } = answer as {
      result: { value?: unknown };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (exceptionDetails) throw new BrowserError(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }
}
