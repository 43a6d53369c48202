/**
 * Prints the sum of what vitest's JSON reports counted, as one last line; fails when there is no report or no test
 * ran.
 */
import { existsSync, readFileSync } from 'node:fs';

const totals = { passed: 0, failed: 0, skipped: 0 };
for (const file of process.argv.slice(2).filter((path) => existsSync(path))) {
  const report = JSON.parse(readFileSync(file, 'utf8'));
  totals.passed += report.numPassedTests;
  // A file that could not be loaded has no tests of its own and still failed.
  totals.failed +=
    report.numFailedTests +
    report.testResults.filter((suite) => suite.status === 'failed' && suite.assertionResults.length === 0).length;
  totals.skipped += report.numPendingTests + report.numTodoTests;
}
console.log(
  `${totals.passed} passed, ${totals.failed} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`,
);
process.exit(totals.passed > 0 && totals.failed === 0 ? 0 : 1);
