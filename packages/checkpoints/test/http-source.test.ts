import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ArgumentError } from '@forerun/tensor';
import {
  AbortedError,
  AccessError,
  FileChangedError,
  FileMissingError,
  NetworkError,
  PathError,
  ResponseError,
  TruncatedError,
  httpSource,
  hubSource,
  openCheckpoint,
} from '../src/index.ts';
import { askedBytes, sendRange, serveFiles, type FileServer, type Misbehaviour } from './file-server.ts';
import { safetensorsFile, seededBytes, text } from './write-safetensors.ts';

const big = seededBytes(3_000_000, 7);
const quick = { retryDelayMs: 1, retries: 2 };
let server: FileServer;

beforeEach(async () => {
  server = await serveFiles(
    new Map([
      ['model/big.bin', big],
      ['model/empty.bin', new Uint8Array(0)],
      ['model/config.json', text('{"model_type":"llama"}')],
      ['model/model.safetensors', safetensorsFile([{ name: 'a', dtype: 'U8', shape: [big.length], bytes: big }])],
      ['own/er/resolve/refs%2Fpr%2F1/config.json', text('{}')],
      ['own/er/resolve/refs/pr/1/config.json', text('{}')],
    ]),
  );
});
afterEach(() => server.close());

const source = (options = {}) => httpSource(`${server.url}/model`, { ...quick, ...options });

describe('a good server', () => {
  test('ranges, sizes, versions and absence', async () => {
    const files = source();
    expect(await files.size('big.bin')).toBe(big.length);
    expect(await files.version('big.bin')).toBe('"one"');
    expect(await files.exists('big.bin')).toBe(true);
    expect(await files.exists('none.bin')).toBe(false);
    expect(await files.size('empty.bin')).toBe(0);
    expect(await files.read('big.bin', 1000, 2000)).toEqual(big.slice(1000, 2000));
    expect(await files.read('big.bin', 5, 5)).toEqual(new Uint8Array(0));
    expect(new TextDecoder().decode(await files.readWhole('config.json', { maxBytes: 100 }))).toContain('llama');
    expect(server.requests.filter(({ range }) => range === 'bytes=1000-1999')).toHaveLength(1);
  });

  test('a range is read in pieces by one request', async () => {
    const reader = await source().open('big.bin', 10, big.length);
    const before = server.requests.length;
    const piece = new Uint8Array(100_000);
    for (let at = 10; at < big.length; at += piece.length) {
      const target = piece.subarray(0, Math.min(piece.length, big.length - at));
      await reader.read(target);
      expect(Buffer.compare(target, big.subarray(at, at + target.length))).toBe(0);
    }
    await reader.close();
    expect(server.requests.length - before).toBe(1);
  });

  test('a query of the prefix is sent and never shown', async () => {
    const files = httpSource(`${server.url}/model?key=secret`, quick);
    expect(files.describe()).toBe(`${server.url}/model`);
    const failure = await files.size('none.bin').catch((cause: Error) => cause);
    expect(failure).toBeInstanceOf(FileMissingError);
    expect((failure as Error).message).not.toContain('secret');
  });

  test('names stay below the prefix', async () => {
    await expect(source().size('../other.bin')).rejects.toBeInstanceOf(PathError);
    await expect(source().size('%2e%2e/other.bin')).rejects.toBeInstanceOf(FileMissingError);
    expect(server.requests.at(-1)!.path).toBe('model/%2e%2e/other.bin');
  });
});

describe('the Hub', () => {
  test('addresses have repository and revision; the token goes along', async () => {
    const files = hubSource('own/er', { endpoint: server.url, revision: 'refs/pr/1', token: 'hf_x', ...quick });
    expect(await files.exists('config.json')).toBe(true);
    expect(server.requests.at(-1)).toMatchObject({
      path: 'own/er/resolve/refs/pr/1/config.json',
      authorization: 'Bearer hf_x',
    });
    expect(files.describe()).not.toContain('hf_x');
    expect(await hubSource('own/er', { endpoint: server.url, ...quick }).exists('x.json')).toBe(false);
    expect(server.requests.at(-1)).toMatchObject({ path: 'own/er/resolve/main/x.json', authorization: undefined });
  });

  test('a redirect to another host is followed, without the token', async () => {
    const storage = await serveFiles(new Map([['blob', big]]));
    try {
      server.misbehave = (request, response) => {
        response.writeHead(302, { location: `${storage.url.replace('127.0.0.1', 'localhost')}/blob` }).end();
        return request.url !== undefined;
      };
      const files = hubSource('own/er', { endpoint: server.url, token: 'hf_x', ...quick });
      expect(await files.read('big.bin', 7, 9)).toEqual(big.slice(7, 9));
      expect(server.requests.at(-1)!.authorization).toBe('Bearer hf_x');
      expect(storage.requests.at(-1)).toMatchObject({ range: 'bytes=7-8', authorization: undefined });
    } finally {
      await storage.close();
    }
  });
});

describe('a server that ignores ranges', () => {
  beforeEach(() => {
    server.misbehave = (request, response, body) => {
      if (body.length === 0) return false;
      response.writeHead(200, { 'content-length': body.length });
      response.end(request.method === 'HEAD' ? undefined : body);
      return true;
    };
  });

  test('is read in order, past what is not wanted', async () => {
    const files = source();
    expect(await files.size('big.bin')).toBe(big.length);
    expect(Buffer.compare(await files.read('big.bin', 1_000_000, 1_500_000), big.subarray(1_000_000, 1_500_000))).toBe(
      0,
    );
    const checkpoint = await openCheckpoint(files);
    let at = 0;
    for await (const { bytes } of checkpoint.stream(['a'], { sliceBytes: 1 << 20 })) {
      expect(Buffer.compare(bytes, big.subarray(at, at + bytes.length))).toBe(0);
      at += bytes.length;
    }
    expect(at).toBe(big.length);
  });
});

type Kind = new (...parameters: never[]) => Error;
const hostile: [name: string, kind: Kind, message: string, act: Misbehaviour][] = [
  ['missing (404)', FileMissingError, 'status 404', (_, response) => !!response.writeHead(404).end()],
  ['gone (410)', FileMissingError, 'status 410', (_, response) => !!response.writeHead(410).end()],
  ['private (401)', AccessError, 'give a token', (_, response) => !!response.writeHead(401).end()],
  ['gated (403)', AccessError, 'status 403', (_, response) => !!response.writeHead(403).end()],
  ['teapot (418)', ResponseError, 'status 418', (_, response) => !!response.writeHead(418).end()],
  ['always busy (503)', NetworkError, 'kept failing (status 503)', (_, response) => !!response.writeHead(503).end()],
  [
    'too many requests (429)',
    NetworkError,
    'status 429',
    (_, response) => !!response.writeHead(429, { 'retry-after': '0' }).end(),
  ],
  ['connection dropped', NetworkError, 'could not be reached or broke off', (request) => !!request.socket.destroy()],
  [
    'redirected for ever',
    NetworkError,
    'could not be reached',
    (request, response) => !!response.writeHead(302, { location: request.url! }).end(),
  ],
  [
    'range of another place',
    ResponseError,
    'content-range "bytes 0-99/3000000"',
    (_, response, body) =>
      !!response.writeHead(206, { 'content-range': `bytes 0-99/${body.length}` }).end(body.subarray(0, 100)),
  ],
  [
    'range shorter than asked',
    ResponseError,
    'was asked for bytes 100 to 1999999',
    (request, response, body) => {
      const { first, bytes } = askedBytes(request, body);
      const cut = bytes.subarray(0, 50);
      return !!response.writeHead(206, { 'content-range': `bytes ${first}-${first + 49}/${body.length}` }).end(cut);
    },
  ],
  [
    'range that is gibberish',
    ResponseError,
    'content-range "bytes lots"',
    (_, response, body) => !!response.writeHead(206, { 'content-range': 'bytes lots' }).end(body),
  ],
  [
    'length of another size, and no range told',
    ResponseError,
    'was asked for 1999900 bytes, but answered with 100',
    (_, response, body) => !!response.writeHead(206, { 'content-length': 100 }).end(body.subarray(0, 100)),
  ],
  [
    'compressed',
    ResponseError,
    'content-encoding "gzip"',
    (request, response, body) => {
      const { first, bytes } = askedBytes(request, body);
      const range = `bytes ${first}-${first + bytes.length - 1}/${body.length}`;
      return !!response.writeHead(206, { 'content-encoding': 'gzip', 'content-range': range }).end(bytes);
    },
  ],
  [
    'file shorter than expected (416)',
    TruncatedError,
    'shorter than expected',
    (_, response) => !!response.writeHead(416, { 'content-range': 'bytes */50' }).end(),
  ],
  [
    'cut bodies, each time',
    NetworkError,
    'broke off',
    (request, response, body) => {
      const { first, bytes } = askedBytes(request, body);
      response.writeHead(206, {
        'content-length': bytes.length,
        'content-range': `bytes ${first}-${first + bytes.length - 1}/${body.length}`,
      });
      response.write(bytes.subarray(0, 10), () => response.destroy());
      return true;
    },
  ],
  [
    'whole file in place of a range, cut',
    TruncatedError,
    'ended at byte',
    (_, response, body) => !!response.writeHead(200).end(body.subarray(0, 5000)),
  ],
  [
    'whole file in place of a range, cut before it',
    TruncatedError,
    'ended after 50 bytes',
    (_, response, body) => !!response.writeHead(200).end(body.subarray(0, 50)),
  ],
];

const silent: [name: string, act: Misbehaviour][] = [
  ['no answer', () => true],
  [
    'body that stalls',
    (request, response, body) => {
      const { first, bytes } = askedBytes(request, body);
      response.writeHead(206, {
        'content-length': bytes.length,
        'content-range': `bytes ${first}-${first + bytes.length - 1}/${body.length}`,
      });
      response.write(bytes.subarray(0, 10));
      return true;
    },
  ],
];

describe('a server that misbehaves', () => {
  test.each(hostile)('%s', async (_name, kind, message, act) => {
    server.misbehave = act;
    const failure = await source()
      .read('big.bin', 100, 2_000_000)
      .catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(kind);
    expect((failure as Error).message).toContain(message);
    expect((failure as Error).message).toContain(`${server.url}/model/big.bin`);
  });

  test.each(silent)('%s', async (_name, act) => {
    server.misbehave = act;
    const failure: unknown = await source({ idleTimeoutMs: 300 })
      .read('big.bin', 100, 2_000_000)
      .catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(NetworkError);
    expect((failure as Error).message).toContain(`${server.url}/model/big.bin`);
    expect((failure as Error).message).toContain('sent nothing for 300 ms');
  });

  test('no server at all', async () => {
    const files = httpSource('http://127.0.0.1:1/', quick);
    await expect(files.exists('x')).rejects.toBeInstanceOf(NetworkError);
  });

  test('a file whose size is not told', async () => {
    server.misbehave = (request, response, body) => {
      response.writeHead(200);
      response.write(request.method === 'HEAD' ? '' : body.subarray(0, 10));
      response.end();
      return true;
    };
    await expect(source().size('big.bin')).rejects.toThrow('tells no file size');
  });

  test('a small file that turns out to be big', async () => {
    await expect(source().readWhole('big.bin', { maxBytes: 1000 })).rejects.toBeInstanceOf(ArgumentError);
    server.misbehave = (_request, response, body) => !!response.writeHead(200).end(body);
    await expect(source().readWhole('big.bin', { maxBytes: 1000 })).rejects.toThrow('at most 1000 bytes');
  });

  test('a file that changes while it is read', async () => {
    let served = 0;
    server.misbehave = (request, response, body) => {
      if (served++ > 0) sendRange(request, response, body, '"two"');
      else {
        const { first, bytes } = askedBytes(request, body);
        response.writeHead(206, {
          etag: '"one"',
          'content-length': bytes.length,
          'content-range': `bytes ${first}-${first + bytes.length - 1}/${body.length}`,
        });
        response.write(bytes.subarray(0, 1000), () => response.destroy());
      }
      return true;
    };
    await expect(source().read('big.bin', 0, 2_000_000)).rejects.toBeInstanceOf(FileChangedError);
  });
});

test('a file that changed since its size was asked for; asking again gets the new one', async () => {
  const files = source();
  await files.size('big.bin');
  server.misbehave = (request, response, body) => {
    sendRange(request, response, body, '"two"');
    return true;
  };
  await expect(files.read('big.bin', 0, 10)).rejects.toBeInstanceOf(FileChangedError);
  expect(await files.size('big.bin')).toBe(big.length);
  expect(await files.read('big.bin', 0, 10)).toEqual(big.slice(0, 10));
});

describe('failures that pass', () => {
  test('two 503, then the range', async () => {
    let failures = 2;
    server.misbehave = (_request, response) => failures-- > 0 && !!response.writeHead(503).end();
    expect(await source().read('big.bin', 0, 10)).toEqual(big.slice(0, 10));
    expect(server.requests).toHaveLength(3);
  });

  test('a body that breaks off is continued where it ended', async () => {
    let cuts = 2;
    server.misbehave = (request, response, body) => {
      if (cuts-- <= 0) return false;
      const { first, bytes } = askedBytes(request, body);
      response.writeHead(206, {
        'content-length': bytes.length,
        'content-range': `bytes ${first}-${first + bytes.length - 1}/${body.length}`,
      });
      response.write(bytes.subarray(0, 40_000), () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    const read = await source().read('big.bin', 5, 2_000_000);
    expect(Buffer.compare(read, big.subarray(5, 2_000_000))).toBe(0);
    expect(server.requests.map(({ range }) => range)).toEqual([
      'bytes=5-1999999',
      'bytes=40005-1999999',
      'bytes=80005-1999999',
    ]);
  });

  test('retry-after is waited for', async () => {
    let failures = 1;
    server.misbehave = (_request, response) =>
      failures-- > 0 && !!response.writeHead(429, { 'retry-after': '1' }).end();
    const before = performance.now();
    await source().read('big.bin', 0, 10);
    expect(performance.now() - before).toBeGreaterThan(900);
  });
});

describe('abort', () => {
  test('before the request', async () => {
    const failure = await source()
      .read('big.bin', 0, 10, { signal: AbortSignal.abort('stop') })
      .catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(AbortedError);
    expect((failure as Error).cause).toBe('stop');
    expect(server.requests).toHaveLength(0);
  });

  test.each([
    ['while the server does not answer', (): boolean => true],
    [
      'while waiting to try again',
      (_: unknown, response: { writeHead(status: number, headers: object): { end(): unknown } }): boolean =>
        !!response.writeHead(503, { 'retry-after': '20' }).end(),
    ],
  ])('%s', async (_name, act) => {
    server.misbehave = act as Misbehaviour;
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 60);
    const reading = source().read('big.bin', 0, 10, { signal: controller.signal });
    await expect(reading).rejects.toBeInstanceOf(AbortedError);
  });

  test('in the middle of a slow body; the connection is closed', async () => {
    let closed = false;
    server.misbehave = (request, response, body) => {
      const { first, bytes } = askedBytes(request, body);
      response.writeHead(206, {
        'content-length': bytes.length,
        'content-range': `bytes ${first}-${first + bytes.length - 1}/${body.length}`,
      });
      response.write(bytes.subarray(0, 100_000));
      response.on('close', () => (closed = true));
      return true;
    };
    const controller = new AbortController();
    const reader = await source().open('big.bin', 0, big.length, {
      signal: controller.signal,
    });
    await reader.read(new Uint8Array(1000));
    const reading = reader.read(new Uint8Array(1_000_000));
    setTimeout(() => controller.abort(), 30);
    await expect(reading).rejects.toBeInstanceOf(AbortedError);
    await expect.poll(() => closed).toBe(true);
  });
});
