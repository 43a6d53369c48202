export { greedy } from './greedy/greedy.ts';
export { philoxNoise, purposeStream } from './noise/philox-noise.ts';
export { sampleAndMatch } from './sample-and-match/sample-and-match.ts';
export { targetTokens } from './sample-and-match/targets.ts';
export { maxTreeRows, walk } from './walk/walk.ts';
