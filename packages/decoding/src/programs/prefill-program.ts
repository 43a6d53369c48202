import type { Rows } from '@forerun/contracts';
import type { Graph } from '@forerun/tensor';
import { trace } from '@forerun/tensor';
import { advance, prefillRows } from '../loop/prefill-rows.ts';
import { roundHead } from '../loop/round-head.ts';
import type { RoundParts } from './round-program.ts';
import { targetOutputs } from './round-program.ts';

/**
 * Traces the prefill of at most `chunk` tokens: the next stretch of the prompt goes through all layers into the cache; no logits are
 * made. The last token of a prompt is never prefilled: it is the anchor of the first round.
 */
export function tracePrefill(parts: Omit<RoundParts, 'verifier' | 'noise'>, chunk: number): Graph {
  const { decoder, state, loop, drafter } = parts;
  return trace((graph) => {
    graph.section = 'prefill';
    const { tokens, positions, spans, count, length } = prefillRows(graph, loop, chunk);
    const rows: Rows = { inputs: tokens, positions, depths: positions, slots: positions, spans, count, length };
    const needs = drafter?.drafter.needs ?? {};
    const { hidden, taps } = decoder.forward(rows, state, needs.taps ? { taps: needs.taps } : {});
    if (drafter) drafter.drafter.prefill(targetOutputs(decoder, { rows, hidden, taps }, needs), drafter.state, loop);
    advance(loop.loop, count);
  });
}

/** Traces what brings all states back to the length in the loop state; without dispatches for caches that only move a length. */
export function traceTruncate({ state, loop, drafter }: Pick<RoundParts, 'state' | 'loop' | 'drafter'>): Graph {
  return trace((graph) => {
    const { length } = roundHead(graph, loop.loop, 1);
    state.truncate(length);
    drafter?.state.truncate(length);
  });
}

/** Traces what marks all states at the length in the loop state; undefined where none of them takes marks. */
export function traceMark({ state, loop, drafter }: Pick<RoundParts, 'state' | 'loop' | 'drafter'>): Graph | undefined {
  const marked = [state, drafter?.state].filter((one) => one?.mark !== undefined);
  if (marked.length === 0) return undefined;
  return trace((graph) => {
    const { length } = roundHead(graph, loop.loop, 1);
    for (const one of marked) one!.mark!(length);
  });
}
