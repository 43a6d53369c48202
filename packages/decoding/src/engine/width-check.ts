/**
 * Measures on this device what idea and tests promise: that a row's bits do not depend on how many rows run beside it. A driver may
 * reassociate sums as WGSL allows; a width whose rows differ from those of width 1 is not offered to the policy.
 */
import type { Rows } from '@forerun/contracts';
import type { Program, StateBuffers } from '@forerun/tensor';
import { Commands, trace } from '@forerun/tensor';
import { roundHead } from '../loop/round-head.ts';
import type { Engine } from './engine.ts';
import { startWords } from './measure.ts';

/** Tokens in the cache before the compared rows. */
const prefixTokens = 12;

/** Tokens that exercise the model without meaning anything. */
const probeToken = (index: number, vocabSize: number) => (index * 7919 + 13) % vocabSize;

/** Traces a forward pass of `width` given tokens behind the cache, with the logits of every row as its output. */
export function traceProbe(engine: Engine, width: number) {
  const { decoder, state, loop } = engine;
  return trace((graph) => {
    const { positions, nexts, length } = roundHead(graph, loop.loop, width);
    const inputs = graph.input('tokens', [width], 'u32');
    const count = graph.constant(Uint32Array.of(width));
    const rows: Rows = {
      inputs,
      positions,
      depths: positions,
      slots: positions,
      spans: nexts,
      count,
      length,
    };
    graph.output('logits', decoder.head(decoder.norm(decoder.forward(rows, state).hidden)));
  });
}

/** Logits of rows `from ..< from + width` as raw bits. */
async function probe(
  engine: Engine,
  program: Program,
  { states, from, width }: { states: StateBuffers; from: number; width: number },
): Promise<Uint32Array> {
  const { vocabSize } = engine.decoder;
  states.write(engine.loop.loop, startWords({ length: from }));
  program.write(
    'tokens',
    Uint32Array.from({ length: width }, (_, row) => probeToken(from + row, vocabSize)),
  );
  const commands = new Commands(engine.device).run(program, { states, bound: from + width });
  const logits = commands.read(program, 'logits');
  commands.submit();
  return new Uint32Array((await logits).buffer);
}

/** Those of `widths` whose rows have, on this device, exactly the bits that they have alone. */
export async function exactWidths(engine: Engine, widths: readonly number[]): Promise<ReadonlySet<number>> {
  const { capacityTokens, decoder } = engine;
  const possible = widths.filter((width) => width > 1 && prefixTokens + width <= capacityTokens);
  const states = engine.allocate([]);
  const exact = new Set<number>([1]);
  const single = await engine.compile(traceProbe(engine, 1), 'width check of 1');
  const alone: Uint32Array[] = [];
  try {
    for (let at = 0; at < prefixTokens + Math.max(1, ...possible); at++) {
      const bits = await probe(engine, single, { states, from: at, width: 1 });
      if (at >= prefixTokens) alone.push(bits);
    }
    for (const width of possible) {
      const program = await engine.compile(traceProbe(engine, width), `width check of ${width}`);
      const together = await probe(engine, program, { states, from: prefixTokens, width });
      const same = Array.from({ length: width }, (_, row) =>
        alone[row]!.every((word, index) => word === together[row * decoder.vocabSize + index]),
      );
      if (same.every(Boolean)) exact.add(width);
      engine.release(program);
    }
  } finally {
    engine.release(single);
    states.destroy();
  }
  return exact;
}
