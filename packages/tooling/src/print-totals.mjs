/**
 * Prints the tests that failed in vitest's JSON reports, each with the head of its message, and the sum of what the
 * reports counted as one last line; fails when there is no report or no test ran.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const totals = { passed: 0, failed: 0, skipped: 0 };

function printFailure(lane, file, name, message = 'no message') {
  const head = stripVTControlCharacters(message).split('\n').slice(0, 12).join('\n    ');
  console.log(`\nFailed (${lane}): ${relative('.', file)}${name === '' ? '' : ` > ${name}`}\n    ${head}`);
}

for (const file of process.argv.slice(2).filter((path) => existsSync(path))) {
  const lane = basename(file, '.json');
  const report = JSON.parse(readFileSync(file, 'utf8'));
  totals.passed += report.numPassedTests;
  totals.failed += report.numFailedTests;
  totals.skipped += report.numPendingTests + report.numTodoTests;
  for (const suite of report.testResults.filter(({ status }) => status === 'failed')) {
    const failed = suite.assertionResults.filter(({ status }) => status === 'failed');
    for (const test of failed) printFailure(lane, suite.name, test.fullName, test.failureMessages[0]);
    if (failed.length > 0) continue;
    // A file that could not be loaded, or whose set-up failed, still failed.
    totals.failed++;
    printFailure(lane, suite.name, '', suite.message);
  }
}
console.log(
  `${totals.passed} passed, ${totals.failed} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`,
);
process.exit(totals.passed > 0 && totals.failed === 0 ? 0 : 1);
