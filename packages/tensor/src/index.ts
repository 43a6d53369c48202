export {
  AbortedError,
  AdapterError,
  ArgumentError,
  DeviceLimitError,
  DeviceLostError,
  DTypeError,
  ForerunError,
  GpuValidationError,
  MissingFeatureError,
  OutOfMemoryError,
  ShapeError,
} from './errors.ts';
export type { AdapterDescription, AdapterKind, DeviceOptions, MemoryPurpose } from './device/device.ts';
export { Device, requestDevice } from './device/device.ts';
export type { ExperimentalFeature } from './device/gpu.browser.ts';
export type { MatrixComponent, MatrixConfig } from './device/subgroup-matrix.ts';
export type { DType, TensorSpec } from './graph/dtype.ts';
export { elementCount, rowCount, rowWidth, sameShape, shapeText } from './graph/dtype.ts';
export type { GraphConstant, GraphInput, GraphNode } from './graph/graph.ts';
export { Graph, trace } from './graph/graph.ts';
export type { NdArray, Operand, Operation } from './graph/operation.ts';
export { defineOperation, u32Array, u32Vectors } from './graph/operation.ts';
export type { StateInit } from './graph/state.ts';
export { State } from './graph/state.ts';
export { Tensor } from './graph/tensor.ts';
export type { BlockFormat, BlockLayout, BlockType } from './graph/block-types.ts';
export { blockLayouts, formatOfBlocks, isBlockFormat, isBlockType } from './graph/block-types.ts';
export { dequantizeBlocks } from './graph/dequantize-blocks.ts';
export { float16Bits, float16Value } from './graph/float16.ts';
export type { WeightBytes, WeightFormat } from './graph/weight.ts';
export { quantBlock, rowBlocks, rowWords, Weight, weightBytes } from './graph/weight.ts';
export type { Access, AnyKernel, Binding, Guard, Kernel, KernelFeature, UniformType } from './kernel/define-kernel.ts';
export { defineKernel, read, readWrite, uniform, write } from './kernel/define-kernel.ts';
export type { Grid } from './kernel/grid.ts';
export { grid, linearWorkgroupWgsl } from './kernel/grid.ts';
export type {
  Arithmetic,
  BufferView,
  DispatchRequest,
  Lowering,
  LoweringContext,
  PreparedForm,
  PreparedOutput,
  PreparedRead,
  WeightPart,
} from './compile/lowering.ts';
export type {
  ChoiceQuestion,
  ChoiceStore,
  ChoiceTimer,
  MeasuredChoice,
  TimedBuffer,
  TimedDispatch,
} from './compile/choices.ts';
export { ChoiceTable } from './compile/choices.ts';
export type { CompileOptions } from './compile/compile.ts';
export { compile } from './compile/compile.ts';
export type { CommandOptions, RunOptions, StateStretch } from './run/commands.ts';
export { Commands } from './run/commands.ts';
export type { InterpretOptions } from './run/interpret.ts';
export { interpret } from './run/interpret.ts';
export { Program } from './run/program.ts';
export type { HostArray } from './run/state-buffers.ts';
export { hostArray, StateBuffers } from './run/state-buffers.ts';
export { deviceChoices, deviceIdentity, deviceTimer } from './run/time-choices.ts';
export { WeightStore } from './run/weight-store.ts';
export type { RopeFrequencies } from './ops/rope/frequencies.ts';
export { ropeFrequencies, ropeTable } from './ops/rope/frequencies.ts';
export type { ParseRopeOptions, RopeParameters } from './ops/rope/parameters.ts';
export { parseRope, RopeConfigError } from './ops/rope/parameters.ts';
export { rope } from './ops/rope/rope.ts';
export { rmsNorm } from './ops/rms-norm/rms-norm.ts';
export { layerNorm } from './ops/layer-norm/layer-norm.ts';
export { softmax } from './ops/softmax/softmax.ts';
export type { ReduceKind } from './ops/reduce/reduce.ts';
export { reduce } from './ops/reduce/reduce.ts';
export { argmax, nanIndex } from './ops/argmax/argmax.ts';
export { appendKv } from './ops/append/append.ts';
export type { CacheLayout, KvCache } from './ops/append/cache.ts';
export { cacheLayout } from './ops/append/cache.ts';
export { moveRows } from './ops/append/move-rows.ts';
export { philoxWgsl } from './wgsl/philox.ts';
export { drawTokenWgsl, vocabularyLanes } from './wgsl/draw-token.ts';
export { gumbelNoise, uniformNoise } from './ops/noise/noise.ts';
export { philox } from './ops/noise/noise.reference.ts';
export type { SamplingSettings, UnpackedSampling } from './ops/sample/settings.ts';
export { packSampling, samplingWords, unpackSampling } from './ops/sample/settings.ts';
export type { SampleOptions, SamplePath } from './ops/sample/sample.ts';
export { sample } from './ops/sample/sample.ts';
export { samplingProbabilities } from './ops/sampling-probabilities/sampling-probabilities.ts';
export { noToken } from './ops/sample/sample.reference.ts';
export { fillRandom } from './run/random-weights.ts';
export { WeightUpload, WeightValueError } from './run/weight-upload.ts';
export type { SourceDType } from './ops/convert-weight/convert-weight.wgsl.ts';
export { linear } from './ops/linear/linear.ts';
export { expertLinear } from './ops/expert-linear/expert-linear.ts';
export { embedding } from './ops/embedding/embedding.ts';
export { gather, gatherRows } from './ops/gather/gather.ts';
export { scatterRows } from './ops/scatter/scatter.ts';
export { slice } from './ops/slice/slice.ts';
export { concat } from './ops/concat/concat.ts';
export { readState } from './ops/state-slice/state-slice.ts';
export type { WriteRowsOptions } from './ops/write-rows/write-rows.ts';
export { writeRows, writeRowsPacked } from './ops/write-rows/write-rows.ts';
export { writeState } from './ops/write-state/write-state.ts';
export type { ConvolutionRecord, ConvolutionRows } from './ops/short-convolution/short-convolution.ts';
export { shortConvolution } from './ops/short-convolution/short-convolution.ts';
export { copyRows } from './ops/copy-rows/copy-rows.ts';
export type { AttentionOptions, AttentionRows } from './ops/attention/attention.ts';
export { attention } from './ops/attention/attention.ts';
export { maxTopK, topK } from './ops/top-k/top-k.ts';
export type { Bandwidth, BandwidthOptions } from './run/bandwidth.ts';
export { measureBandwidth, MeasurementError } from './run/bandwidth.ts';
export type { DispatchTime, Profile, ProfileOptions } from './run/profiler.ts';
export { canProfile, profile } from './run/profiler.ts';
export { steadyClock } from './run/steady-clock.ts';
export type { ExplainedDispatch, ExplainedFusion, ExplainOptions, Explanation } from './run/explain.ts';
export { explain, explanationText } from './run/explain.ts';
