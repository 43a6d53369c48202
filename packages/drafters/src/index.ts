export type { DraftModelOptions } from './draft-model/draft-model.ts';
export { draftModel } from './draft-model/draft-model.ts';
export { block } from './block/block.ts';
export { eagle } from './eagle/eagle.ts';
export type { EarlyExitOptions } from './early-exit/early-exit.ts';
export { earlyExit } from './early-exit/early-exit.ts';
export type { ChildChoice } from './features/children.ts';
export type { FeatureDrafterOptions } from './features/feature-drafter.ts';
export type { MarginalTreeOptions } from './features/marginal-tree.ts';
export type { FirstChoice } from './first/first.ts';
export { first } from './first/first.ts';
export type { HostFunction } from './host/host.ts';
export { host } from './host/host.ts';
export type { HydraOptions } from './hydra/hydra.ts';
export { hydra } from './hydra/hydra.ts';
export type { IndependentDrafterOptions } from './independent/independent.ts';
export { independent } from './independent/independent.ts';
export type { LookaheadDrafter, LookaheadOptions, LookaheadState } from './lookahead/lookahead.ts';
export { lookahead } from './lookahead/lookahead.ts';
export { insertNGrams } from './lookahead/n-gram-pool.ts';
export { medusa } from './medusa/medusa.ts';
export { mtp } from './mtp/mtp.ts';
export type { NGramOptions } from './n-gram/n-gram.ts';
export { nGram } from './n-gram/n-gram.ts';
export type { ReplayDrafter, ReplayOptions, ReplayState } from './replay/replay.ts';
export { replay, unrecorded } from './replay/replay.ts';
export type { ContinuationOptions, ContinuationTree, Places } from './continuations/continuations.ts';
export { maxContinuation } from './continuations/continuations.ts';
export type { Datastore } from './retrieval/datastore.ts';
export {
  buildDatastore,
  datastoreBytes,
  DatastoreError,
  maxDatastoreTokens,
  readDatastore,
} from './retrieval/datastore.ts';
export type { RetrievalDrafter, RetrievalOptions } from './retrieval/retrieval.ts';
export { retrieval } from './retrieval/retrieval.ts';
export type { SuffixDrafter, SuffixOptions } from './suffix/suffix.ts';
export { suffix } from './suffix/suffix.ts';
export { recyclingShape } from './token-recycling/recycling-shape.ts';
export type {
  TokenRecyclingDrafter,
  TokenRecyclingOptions,
  TokenRecyclingState,
} from './token-recycling/token-recycling.ts';
export { tokenRecycling } from './token-recycling/token-recycling.ts';
export type { BeamTreeOptions, Beams } from './trees/beam-tree.ts';
export { beamTree } from './trees/beam-tree.ts';
export { bestFirstTree } from './trees/best-first.ts';
export { candidateTree } from './trees/candidate-tree.ts';
export type { MedusaTree } from './trees/medusa-choices.ts';
export { medusaChoices, medusaTrees } from './trees/medusa-choices.ts';
export { drawChildren, maxDrawnChildren } from './trees/draw-children.ts';
export type { LevelNodes, LevelTree, LevelTreeOptions } from './trees/level-tree.ts';
export { levelTree } from './trees/level-tree.ts';
export type { NodePool } from './trees/pool-tree.ts';
export { maxPoolNodes, poolTree } from './trees/pool-tree.ts';
export type { SequoiaOptions, SequoiaTree } from './trees/sequoia.ts';
export { sequoiaTree } from './trees/sequoia.ts';
export type { TreeChoice } from './trees/sub-tree.ts';
export { subTree } from './trees/sub-tree.ts';
export type { TreeShape } from './trees/tree-shape.ts';
export { candidateIndexes, chainShape, leafPaths, maxTreeWidth, staticTree, treeMask } from './trees/tree-shape.ts';
