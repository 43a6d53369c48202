/** What a drafter's round is made of: draft, verify and commit, against one token of plain decoding. */
import type { Drafter } from '@forerun/contracts';
import { loopWords } from '@forerun/contracts';
import type { Conversation, Engine } from '@forerun/decoding';
import type { Program } from '@forerun/tensor';
import { canProfile, Commands } from '@forerun/tensor';
import type { RoundTime } from './round-timing.ts';
import { timeRounds } from './round-timing.ts';

/** Milliseconds of a round by what is done in them. */
export interface SectionTimes {
  readonly draft: number;
  readonly verify: number;
  readonly commit: number;
}

/** Cost of one round of a drafter at a width. */
export interface RoundCost {
  readonly drafter: string;
  /** Rows of the round: nodes of the tree, the anchor included. */
  readonly nodes: number;
  /** Wall time of a round with several in flight, in ms. */
  readonly round_ms: number;
  readonly round_gpu_ms: number | undefined;
  readonly encode_ms: number;
  /** GPU time by section; undefined where dispatches cannot be timed. */
  readonly sections_ms: SectionTimes | undefined;
  /** Against one plain token, wall by wall: tokens that a round has to give before it pays. */
  readonly break_even_acceptance_length: number;
  readonly dispatches: number;
  /** Tokens a round that came out in this run; of random weights it means nothing. */
  readonly acceptance_length: number;
  /** Whether the text was the plain one. */
  readonly output_equal: boolean;
}

/** What rounds are measured against, and how often. */
export interface RoundCostOptions {
  readonly prompt: readonly number[];
  /** Text that plain decoding gave behind the prompt. */
  readonly plainTokens: readonly number[];
  readonly plain: RoundTime;
  readonly rounds: number;
  readonly trials: number;
}

/** Rounds of a submit whose sections are told apart: a submit has at most 64 passes. */
const sectionedRounds = 8;

/** GPU time of rounds by section, each section in a pass of its own; the least of the trials. */
async function sectionTimes(
  { device, capacityTokens }: Engine,
  program: Program,
  { conversation, length, options }: { conversation: Conversation; length: number; options: RoundCostOptions },
): Promise<SectionTimes> {
  const { states } = conversation;
  const rounds = Math.min(options.rounds, sectionedRounds);
  const best = { draft: Infinity, verify: Infinity, commit: Infinity };
  for (let trial = 0; trial < options.trials; trial++) {
    const commands = new Commands(device, { timed: 'sections' });
    for (let round = 0; round < rounds; round++)
      commands.run(program, { states, bound: Math.min(2 * length, capacityTokens) });
    const times = commands.sectionMs();
    commands.submit();
    const sections = await times;
    for (const name of ['draft', 'verify', 'commit'] as const) {
      best[name] = Math.min(best[name], (sections[name] ?? 0) / rounds);
    }
  }
  return best;
}

/** Puts the loop of a conversation that ended back on its way. */
export async function reopenLoop(engine: Engine, conversation: Conversation): Promise<number> {
  const { loop } = engine.loop;
  const words = await conversation.states.read(loop);
  words[loopWords.stop] = 0;
  words[loopWords.reason] = 0;
  words[loopWords.budget] = 2 ** 31;
  conversation.states.write(loop, words);
  return words[loopWords.length]!;
}

/** Runs a drafter behind a prompt, holds its text to the plain one, then times its rounds where the text ended. */
export async function roundCost(
  engine: Engine,
  { drafter, nodes }: { drafter: Drafter; nodes: number },
  options: RoundCostOptions,
): Promise<RoundCost> {
  const { prompt, plainTokens, plain, rounds, trials } = options;
  using conversation = engine.open({ drafter });
  const request = { prompt, maxTokens: plainTokens.length, stopTokens: [], width: nodes };
  for await (const step of conversation.generate(request)) void step;
  const came = conversation.tokens.slice(prompt.length);
  const program = await conversation.program(nodes);
  await reopenLoop(engine, conversation);
  const time = await timeRounds(engine, program, { states: conversation.states, rounds, width: nodes, trials });
  const length = await reopenLoop(engine, conversation);
  const sections = canProfile(engine.device)
    ? await sectionTimes(engine, program, { conversation, length, options })
    : undefined;
  return {
    drafter: drafter.name,
    nodes,
    round_ms: time.wallMs,
    round_gpu_ms: time.gpuMs,
    encode_ms: time.encodeMs,
    sections_ms: sections,
    break_even_acceptance_length: time.wallMs / plain.wallMs,
    dispatches: program.dispatches.length,
    acceptance_length: conversation.statistics!.acceptanceLength,
    output_equal: came.length === plainTokens.length && came.every((token, index) => token === plainTokens[index]),
  };
}
