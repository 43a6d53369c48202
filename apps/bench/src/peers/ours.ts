import { timeForward, timePrefill } from '@forerun/decoding';
import { steadyClock } from '@forerun/tensor';
import { load } from 'forerun';
import { median } from 'forerun/bench';
import type { PeerFigures, PeerProtocol } from './protocol.ts';
import { peerPrompt, promptTokens } from './protocol.ts';

/** This library on a GGUF file, by the peers' protocol. */
export async function measureOurs(
  path: string,
  protocol: PeerProtocol & { readonly arithmetic: 'f32' | 'f16' | 'i8' },
): Promise<PeerFigures> {
  const { tokens, runs, widths, arithmetic } = protocol;
  const start = performance.now();
  using model = await load(path, { capacityTokens: 1024, arithmetic });
  const loadMs = performance.now() - start;
  const { engine } = model;
  const { device } = engine;
  const hardware = device.adapter.kind === 'hardware';
  await steadyClock(device);
  const times: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const { statistics } = await model.generate(peerPrompt(promptTokens), {
      drafter: 'none',
      maxTokens: tokens,
      stopTokens: [],
      stopStrings: [],
      sampling: { temperature: 0, seed: 0 },
    }).result;
    if (run > 0) times.push(statistics.decodeMs / statistics.generatedTokens);
  }
  const passes: Record<string, number> = {};
  for (const width of widths) {
    const time = await timeForward(engine, width, { length: 512, runs: hardware ? 8 : 1, trials: hardware ? 5 : 1 });
    passes[width] = time.gpuMs ?? time.wallMs;
  }
  return {
    engine: `forerun, ${arithmetic} arithmetic`,
    version: 'this tree',
    device: [device.adapter.device, device.adapter.description].filter(Boolean).join(', '),
    greedy_ms: median(times),
    tokens,
    runs,
    prefill_512_ms: await timePrefill(engine, 512),
    passes,
    passes_with_logits: true,
    load_ms: loadMs,
  };
}
