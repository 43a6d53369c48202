import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../checks/workspace.ts';

/** SwiftShader reads it from the folder that a process was started in. */
const settings = join(root, 'SwiftShader.ini');

/**
 * Gives each process one thread for SwiftShader while tests run. There is a process of tests for every core already; threads of
 * SwiftShader's that wait for each other behind them take a third of the time.
 *
 * @returns what takes the file away.
 */
export default function oneThread(): () => void {
  writeFileSync(settings, '[Processor]\nThreadCount=1\n');
  return () => rmSync(settings, { force: true });
}
