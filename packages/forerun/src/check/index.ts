export type { CheckOptions, CheckResult } from './check-folder.ts';
export { checkedChunks, checkFolder, checkLine } from './check-folder.ts';
export { chunkInputs, ForwardRunner, traceChunk } from './forward.ts';
export type { Golden } from './golden-file.ts';
export { goldenFile, GoldenFileError, readGolden } from './golden-file.ts';
export type { ExactComparison, ExactOptions, ExactResult } from './exact.ts';
export { checkExact, exactLine } from './exact.ts';
