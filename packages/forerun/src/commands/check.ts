import { requestDevice } from '@forerun/tensor';
import { Command } from 'commander';
import { checkFolder, checkLine } from '../check/check-folder.ts';
import { checkExact, exactLine } from '../check/exact.ts';
import { caseLine, caseTotal, checkSpeculative } from '../check/speculative/check-speculative.ts';
import { shippedDraftOf, shippedHeadsOf, sourceByName } from './shipped.ts';
import { Interrupt } from '../terminal/interrupt.ts';
import { jsonLine, line, noteJson } from '../terminal/write.ts';
import { UsageError } from '../terminal/usage-error.ts';
import type { ModelSource } from '../load/source.ts';
import { headNames } from '../model/drafter-choice.ts';
import { countOf } from './model-options.ts';
import { adapterText } from './statistics-text.ts';

interface CheckFlags {
  readonly exact?: boolean;
  readonly speculative?: boolean;
  readonly tokens?: number;
  readonly draft?: string;
  readonly heads?: readonly string[];
  readonly widths?: readonly number[];
  readonly json?: boolean;
}

/** `forerun check`: whether this device computes right. */
export function checkCommand(): Command {
  return new Command('check')
    .description(
      'hold checkpoints to their golden outputs, with --exact speculative to plain output, with --speculative methods to published ones',
    )
    .argument('<folder...>', 'folders of checkpoints; with --speculative of cases')
    .option('--speculative', 'run every golden case of speculative decoding in the folders')
    .option('--exact', 'compare speculative with plain output, token for token')
    .option(
      '--tokens <count>',
      'with --exact: tokens of each comparison (default 64 in software, 1000 on a GPU)',
      countOf,
    )
    .option('--widths <rows...>', 'with --exact: rows of the rounds', (text: string, before: number[] = []) => [
      ...before,
      countOf(text),
    ])
    .option('--draft <source>', 'with --exact: a draft model of the same vocabulary')
    .option(
      '--heads <source...>',
      'with --exact: heads made for the model; all that ship with the shipped one, "none" without',
    )
    .option('--json', 'print JSON, one line a folder')
    .action(check);
}

async function check(folders: readonly string[], flags: CheckFlags): Promise<void> {
  const { tokens, draft, heads, widths } = flags;
  if (!flags.exact && [tokens, draft, heads, widths].some((flag) => flag !== undefined)) {
    throw new UsageError('--tokens, --widths, --draft and --heads belong to --exact.');
  }
  if (flags.exact && flags.speculative) throw new UsageError('--exact and --speculative are two checks: choose one.');
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  const device = await requestDevice();
  try {
    if (!flags.json) process.stderr.write(`${adapterText(device.adapter)}\n`);
    let ok = true;
    for (const folder of folders) {
      if (flags.speculative) {
        const result = await checkSpeculative(folder, device, {
          signal,
          onCase: (one) => void (flags.json ? noteJson(one) : line(caseLine(one))),
        });
        ok &&= result.ok;
        await (flags.json ? jsonLine({ ...result, adapter: device.adapter }) : line(caseTotal(result)));
        continue;
      }
      const source = sourceByName(folder);
      if (flags.exact) {
        const result = await checkExact(source, device, {
          ...(flags.tokens === undefined ? {} : { tokens: flags.tokens }),
          ...(flags.widths ? { widths: flags.widths } : {}),
          draft: flags.draft === undefined ? shippedDraftOf(folder) : sourceByName(flags.draft),
          heads: headsOf(folder, flags.heads),
          signal,
          onComparison: (comparison) => void (flags.json ? noteJson(comparison) : line(exactLine(comparison))),
        });
        ok &&= result.ok;
        if (flags.json) await jsonLine({ ...result, adapter: device.adapter });
        else if (result.withdrawnWidths.length > 0) {
          await line(
            `${result.name}  not exact on this device, and therefore never used: widths ${result.withdrawnWidths.join(', ')}`,
          );
        }
      } else {
        const result = await checkFolder(folder, device, { signal });
        ok &&= result.ok;
        await (flags.json ? jsonLine({ ...result, adapter: device.adapter }) : line(checkLine(result)));
      }
    }
    if (!ok) process.exitCode = 1;
  } finally {
    device.destroy();
  }
}

function headsOf(folder: string, flag: readonly string[] | undefined): readonly ModelSource[] {
  if (flag === undefined) return shippedHeadsOf(folder, headNames);
  return flag.includes('none') ? [] : flag.map(sourceByName);
}
