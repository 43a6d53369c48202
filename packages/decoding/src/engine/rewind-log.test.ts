import type { Past, Rewindable } from '@forerun/contracts';
import { expect, test } from 'vitest';
import { RewindLog } from './rewind-log.ts';

/** Keeps the last 10 positions, and marks. */
const ring: Rewindable = {
  states: [],
  truncate: () => undefined,
  mark: () => undefined,
  reachable: (length, { restored, written, marks }: Past) =>
    length >= Math.max(restored, written - 10) ? length : (marks.findLast((mark) => mark <= length) ?? 0),
};
const all: Rewindable = { states: [], truncate: () => undefined, reachable: (length) => length };

function rewind(log: RewindLog, states: readonly Rewindable[], length: number): number {
  const reached = log.reachable(states, length);
  log.rewound(states, reached);
  return reached;
}

test('a state of everything reaches any length', () => {
  const log = new RewindLog();
  log.wrote(100);
  expect(rewind(log, [all], 3)).toBe(3);
  expect(log.reachable([all, ring], 3)).toBe(0);
});

test('a ring reaches what its last positions still hold, whatever was truncated in between', () => {
  const log = new RewindLog();
  log.wrote(30);
  expect(rewind(log, [all, ring], 24)).toBe(24);
  log.wrote(26);
  expect(rewind(log, [all, ring], 20)).toBe(20);
  expect(log.reachable([ring], 19)).toBe(0);
});

test('further back it reaches the nearest mark, and nothing between that and what is written after', () => {
  const log = new RewindLog();
  for (const end of [8, 20, 40]) {
    log.wrote(end);
    log.marked(end);
  }
  log.wrote(70);
  expect(log.reachable([ring], 39)).toBe(20);
  expect(rewind(log, [ring, all], 25)).toBe(20);
  expect(log.marks).toEqual([8, 20]);
  expect(log.reachable([ring], 19)).toBe(8);
  log.wrote(26);
  expect(log.reachable([ring], 23)).toBe(23);
  log.wrote(35);
  expect([log.reachable([ring], 25), log.reachable([ring], 24)]).toEqual([25, 20]);
});

test('several states meet at a length that all can restore', () => {
  const log = new RewindLog();
  const onlyEven: Rewindable = { ...all, reachable: (length) => length - (length % 2) };
  const onlyThirds: Rewindable = { ...all, reachable: (length) => length - (length % 3) };
  expect(log.reachable([onlyEven, onlyThirds], 17)).toBe(12);
});

test('a fifth mark forgets the shortest, one that is there is not set twice, and none is set at 0', () => {
  const log = new RewindLog();
  for (const end of [0, 1, 2, 2, 3, 4, 5]) log.marked(end);
  expect(log.marks).toEqual([2, 3, 4, 5]);
});

test('at 0 everything begins anew', () => {
  const log = new RewindLog();
  log.wrote(50);
  expect(rewind(log, [ring], 5)).toBe(0);
  log.wrote(9);
  expect(log.reachable([ring], 1)).toBe(1);
});
